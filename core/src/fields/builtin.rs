//! What is known of the built-in kinds without a schema: how the lists that people declare are merged, and the values that
//! the API server fills in.
//!
//! A table for [`preview`](super::preview) alone: where it lacks something, a preview is less exact, and nothing else. Source:
//! the OpenAPI markers (`listType`, `structType`) and `defaults.go` of Kubernetes 1.36.

/// A struct.
pub(super) struct Type {
    /// What is filled in where it is missing.
    pub(super) defaults: &'static [Default],
    /// The fields of which more is known than that maps merge and lists are atomic.
    pub(super) parts: &'static [(&'static str, Part)],
}

/// A value that the API server fills in.
pub(super) enum Default {
    /// A field, and its value as JSON.
    Is(&'static str, &'static str),
    /// The same, where another field is this string.
    When(&'static str, &'static str, (&'static str, &'static str)),
    /// A field that takes the value of another where it has none.
    Copies(&'static str, &'static str),
    /// A field that always has the value of another.
    Follows(&'static str, &'static str),
    /// `imagePullPolicy`: of the image's tag.
    PullPolicy,
}

/// A part of a struct.
pub(super) enum Part {
    /// A map or struct that is merged.
    Struct(&'static Type),
    /// An atomic map, or an atomic list of structs.
    Whole(&'static Type),
    /// A list that is merged by keys, in order.
    Items(&'static [&'static str], &'static Type),
    /// A list that is a set.
    Set,
    /// A quantity.
    Quantity,
    /// A map of quantities.
    Quantities,
    /// A map of strings, which is left out where it is empty.
    Texts,
}

use Default::{Copies, Follows, Is, PullPolicy, When};
use Part::{Items, Quantities, Quantity, Set, Struct, Texts, Whole};

impl Type {
    /// What is known of an object. Of the kinds of others only the metadata.
    pub(super) fn of(group: &str, kind: &str) -> &'static Type {
        match (group, kind) {
            ("apps", "Deployment") => &DEPLOYMENT,
            ("apps", "StatefulSet") => &STATEFUL_SET,
            ("apps", "DaemonSet") => &DAEMON_SET,
            ("apps", "ReplicaSet") => &REPLICA_SET,
            ("batch", "Job") => &JOB,
            ("batch", "CronJob") => &CRON_JOB,
            ("", "Pod") => &POD,
            ("", "Service") => &SERVICE,
            ("", "ServiceAccount") => &SERVICE_ACCOUNT,
            ("", "Secret") => &SECRET,
            ("", "ConfigMap") => &CONFIG_MAP,
            ("", "PersistentVolume") => &VOLUME_OBJECT,
            ("", "PersistentVolumeClaim") => &CLAIM,
            ("", "ResourceQuota") => &QUOTA,
            ("", "LimitRange") => &LIMIT_RANGE,
            ("autoscaling", "HorizontalPodAutoscaler") => &AUTOSCALER,
            ("networking.k8s.io", "NetworkPolicy") => &NETWORK_POLICY,
            ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => &BINDING,
            ("scheduling.k8s.io", "PriorityClass") => &PRIORITY_CLASS,
            ("storage.k8s.io", "StorageClass") => &STORAGE_CLASS,
            ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration") => {
                &WEBHOOKS
            }
            _ => &OBJECT,
        }
    }

    /// What is known of one of its fields.
    pub(super) fn part(&self, field: &str) -> Option<&'static Part> {
        self.parts.iter().find(|(name, _)| *name == field).map(|(_, part)| part)
    }
}

impl Part {
    /// The type of the struct, or of the list's items.
    pub(super) fn inside(&self) -> Option<&'static Type> {
        match self {
            Struct(inside) | Whole(inside) | Items(_, inside) => Some(inside),
            Set | Quantity | Quantities | Texts => None,
        }
    }
}

const fn of(defaults: &'static [Default], parts: &'static [(&'static str, Part)]) -> Type {
    Type { defaults, parts }
}

/// A struct of which nothing is known.
static ANY: Type = of(&[], &[]);
static OBJECT: Type = of(&[], &[("metadata", METADATA)]);

const METADATA: Part = Struct(&META);
static META: Type = of(
    &[],
    &[("annotations", Texts), ("labels", Texts), ("finalizers", Set), ("ownerReferences", Items(&["uid"], &ANY))],
);
const ATOMIC: Part = Whole(&ANY);

/// An object of which only the `spec` is known.
macro_rules! object {
    ($spec:expr) => {
        of(&[], &[("metadata", METADATA), ("spec", Struct($spec))])
    };
}

static DEPLOYMENT: Type = object!(&of(
    &[
        Is("replicas", "1"),
        Is("revisionHistoryLimit", "10"),
        Is("progressDeadlineSeconds", "600"),
        Is("strategy", "{}"),
    ],
    &[("selector", ATOMIC), ("template", TEMPLATE), ("strategy", Struct(&STRATEGY))],
));
static STRATEGY: Type = of(
    &[Is("type", r#""RollingUpdate""#), When("rollingUpdate", "{}", ("type", "RollingUpdate"))],
    &[("rollingUpdate", Struct(&of(&[Is("maxSurge", r#""25%""#), Is("maxUnavailable", r#""25%""#)], &[])))],
);
static DAEMON_SET: Type = object!(&of(
    &[Is("revisionHistoryLimit", "10"), Is("updateStrategy", "{}")],
    &[
        ("selector", ATOMIC),
        ("template", TEMPLATE),
        (
            "updateStrategy",
            Struct(&of(
                &[Is("type", r#""RollingUpdate""#), When("rollingUpdate", "{}", ("type", "RollingUpdate"))],
                &[("rollingUpdate", Struct(&of(&[Is("maxSurge", "0"), Is("maxUnavailable", "1")], &[])))],
            )),
        ),
    ],
));
static STATEFUL_SET: Type = object!(&of(
    &[
        Is("replicas", "1"),
        Is("revisionHistoryLimit", "10"),
        Is("podManagementPolicy", r#""OrderedReady""#),
        Is("updateStrategy", r#"{"type":"RollingUpdate","rollingUpdate":{"partition":0}}"#),
        Is("persistentVolumeClaimRetentionPolicy", "{}"),
    ],
    &[
        ("selector", ATOMIC),
        ("template", TEMPLATE),
        ("volumeClaimTemplates", Whole(&CLAIM_TEMPLATE)),
        (
            "persistentVolumeClaimRetentionPolicy",
            Struct(&of(&[Is("whenDeleted", r#""Retain""#), Is("whenScaled", r#""Retain""#)], &[])),
        ),
    ],
));
static REPLICA_SET: Type = object!(&of(&[Is("replicas", "1")], &[("selector", ATOMIC), ("template", TEMPLATE)]));
static JOB: Type = object!(&of(
    &[
        Is("backoffLimit", "6"),
        Is("completions", "1"),
        Is("parallelism", "1"),
        Is("completionMode", r#""NonIndexed""#),
        Is("suspend", "false"),
    ],
    &[("selector", ATOMIC), ("template", TEMPLATE)],
));
static CRON_JOB: Type = object!(&of(
    &[
        Is("concurrencyPolicy", r#""Allow""#),
        Is("suspend", "false"),
        Is("successfulJobsHistoryLimit", "3"),
        Is("failedJobsHistoryLimit", "1"),
    ],
    &[(
        "jobTemplate",
        Struct(&of(&[], &[("spec", Struct(&of(&[], &[("selector", ATOMIC), ("template", TEMPLATE)])))])),
    )],
));
static POD: Type = object!(&POD_SPEC);

const TEMPLATE: Part = Struct(&POD_TEMPLATE);
static POD_TEMPLATE: Type = of(&[], &[("metadata", METADATA), ("spec", Struct(&POD_SPEC))]);

static POD_SPEC: Type = of(
    &[
        Is("dnsPolicy", r#""ClusterFirst""#),
        Is("restartPolicy", r#""Always""#),
        Is("schedulerName", r#""default-scheduler""#),
        Is("securityContext", "{}"),
        Is("terminationGracePeriodSeconds", "30"),
        // The new name and the old: the server keeps them equal, also where only the new one was dropped.
        Copies("serviceAccountName", "serviceAccount"),
        Follows("serviceAccount", "serviceAccountName"),
    ],
    &[
        ("containers", Items(&["name"], &CONTAINER)),
        ("initContainers", Items(&["name"], &CONTAINER)),
        ("ephemeralContainers", Items(&["name"], &CONTAINER)),
        ("volumes", Items(&["name"], &VOLUME)),
        ("imagePullSecrets", Items(&["name"], &ANY)),
        ("hostAliases", Items(&["ip"], &ANY)),
        ("resourceClaims", Items(&["name"], &ANY)),
        ("schedulingGates", Items(&["name"], &ANY)),
        ("topologySpreadConstraints", Items(&["topologyKey", "whenUnsatisfiable"], &SPREAD)),
        ("nodeSelector", ATOMIC),
        ("resources", Struct(&RESOURCES)),
        ("overhead", Quantities),
    ],
);
static SPREAD: Type = of(&[], &[("labelSelector", ATOMIC)]);

static CONTAINER: Type = of(
    &[
        PullPolicy,
        Is("resources", "{}"),
        Is("terminationMessagePath", r#""/dev/termination-log""#),
        Is("terminationMessagePolicy", r#""File""#),
    ],
    &[
        ("env", Items(&["name"], &ENV)),
        ("ports", Items(&["containerPort", "protocol"], &PORT)),
        ("volumeMounts", Items(&["mountPath"], &ANY)),
        ("volumeDevices", Items(&["devicePath"], &ANY)),
        ("resources", Struct(&RESOURCES)),
        ("livenessProbe", PROBE),
        ("readinessProbe", PROBE),
        ("startupProbe", PROBE),
        ("lifecycle", Struct(&of(&[], &[("postStart", HANDLER), ("preStop", HANDLER)]))),
    ],
);
static PORT: Type = of(&[Is("protocol", r#""TCP""#)], &[]);
static RESOURCES: Type =
    of(&[], &[("limits", Quantities), ("requests", Quantities), ("claims", Items(&["name"], &ANY))]);
static ENV: Type = of(&[], &[("valueFrom", Struct(&VALUE_FROM))]);
static VALUE_FROM: Type = of(
    &[],
    &[
        ("fieldRef", FIELD_REF),
        ("resourceFieldRef", RESOURCE_FIELD_REF),
        ("configMapKeyRef", ATOMIC),
        ("secretKeyRef", ATOMIC),
    ],
);
const FIELD_REF: Part = Whole(&of(&[Is("apiVersion", r#""v1""#)], &[]));
const RESOURCE_FIELD_REF: Part = Whole(&of(&[Is("divisor", r#""0""#)], &[("divisor", Quantity)]));
const HTTP_GET: Part = Struct(&of(&[Is("path", r#""/""#), Is("scheme", r#""HTTP""#)], &[]));
const HANDLER: Part = Struct(&of(&[], &[("httpGet", HTTP_GET)]));
const PROBE: Part = Struct(&of(
    &[Is("timeoutSeconds", "1"), Is("periodSeconds", "10"), Is("successThreshold", "1"), Is("failureThreshold", "3")],
    &[("httpGet", HTTP_GET), ("grpc", Struct(&of(&[Is("service", r#""""#)], &[])))],
));

static VOLUME: Type = of(
    &[],
    &[
        ("configMap", FILES),
        ("secret", FILES),
        ("downwardAPI", Struct(&of(MODE, &[("items", Whole(&DOWNWARD))]))),
        ("projected", Struct(&of(MODE, &[("sources", Whole(&SOURCE))]))),
        ("hostPath", Struct(&of(&[Is("type", r#""""#)], &[]))),
        ("emptyDir", Struct(&of(&[], &[("sizeLimit", Quantity)]))),
        ("ephemeral", Struct(&of(&[], &[("volumeClaimTemplate", Struct(&of(&[], &[("spec", Struct(&CLAIM_SPEC))])))]))),
    ],
);
const MODE: &[Default] = &[Is("defaultMode", "420")];
const FILES: Part = Struct(&of(MODE, &[]));
static DOWNWARD: Type = of(&[], &[("fieldRef", FIELD_REF), ("resourceFieldRef", RESOURCE_FIELD_REF)]);
static SOURCE: Type = of(
    &[],
    &[
        ("serviceAccountToken", Struct(&of(&[Is("expirationSeconds", "3600")], &[]))),
        ("downwardAPI", Struct(&of(&[], &[("items", Whole(&DOWNWARD))]))),
    ],
);

static SERVICE: Type = object!(&of(
    &[
        Is("type", r#""ClusterIP""#),
        Is("sessionAffinity", r#""None""#),
        Is("internalTrafficPolicy", r#""Cluster""#),
        When("externalTrafficPolicy", r#""Cluster""#, ("type", "NodePort")),
        When("externalTrafficPolicy", r#""Cluster""#, ("type", "LoadBalancer")),
        When("allocateLoadBalancerNodePorts", "true", ("type", "LoadBalancer")),
    ],
    &[("ports", Items(&["port", "protocol"], &SERVICE_PORT)), ("selector", ATOMIC)],
));
static SERVICE_PORT: Type = of(&[Is("protocol", r#""TCP""#), Copies("targetPort", "port")], &[]);
static SERVICE_ACCOUNT: Type = of(&[], &[("metadata", METADATA), ("secrets", Items(&["name"], &ANY))]);
static SECRET: Type = of(&[Is("type", r#""Opaque""#)], &[("metadata", METADATA), ("data", Texts)]);
static CONFIG_MAP: Type = of(&[], &[("metadata", METADATA), ("data", Texts), ("binaryData", Texts)]);

static CLAIM: Type = object!(&CLAIM_SPEC);
static CLAIM_SPEC: Type =
    of(&[Is("volumeMode", r#""Filesystem""#)], &[("resources", Struct(&RESOURCES)), ("selector", ATOMIC)]);
static CLAIM_TEMPLATE: Type = of(
    &[Is("apiVersion", r#""v1""#), Is("kind", r#""PersistentVolumeClaim""#), Is("status", r#"{"phase":"Pending"}"#)],
    &[("spec", Struct(&CLAIM_SPEC))],
);
static VOLUME_OBJECT: Type = object!(&of(
    &[Is("persistentVolumeReclaimPolicy", r#""Retain""#), Is("volumeMode", r#""Filesystem""#)],
    &[("capacity", Quantities)],
));
static QUOTA: Type = object!(&of(&[], &[("hard", Quantities)]));
static LIMIT_RANGE: Type = object!(&of(
    &[],
    &[(
        "limits",
        Whole(&of(
            &[],
            &[
                ("default", Quantities),
                ("defaultRequest", Quantities),
                ("max", Quantities),
                ("maxLimitRequestRatio", Quantities),
                ("min", Quantities),
            ],
        )),
    )],
));

static AUTOSCALER: Type = object!(&of(&[Is("minReplicas", "1")], &[("metrics", Whole(&METRIC))]));
static METRIC: Type = of(
    &[],
    &[
        ("resource", MEASURED),
        ("containerResource", MEASURED),
        ("pods", MEASURED),
        ("object", MEASURED),
        ("external", MEASURED),
    ],
);
const MEASURED: Part =
    Struct(&of(&[], &[("target", Struct(&of(&[], &[("averageValue", Quantity), ("value", Quantity)])))]));

static NETWORK_POLICY: Type =
    object!(&of(&[], &[("podSelector", ATOMIC), ("ingress", Whole(&POLICY_RULE)), ("egress", Whole(&POLICY_RULE))]));
static POLICY_RULE: Type = of(&[], &[("ports", Whole(&PORT))]);

static BINDING: Type = of(
    &[],
    &[
        ("metadata", METADATA),
        ("roleRef", Whole(&of(&[Is("apiGroup", RBAC)], &[]))),
        (
            "subjects",
            Whole(&of(&[When("apiGroup", RBAC, ("kind", "User")), When("apiGroup", RBAC, ("kind", "Group"))], &[])),
        ),
    ],
);
const RBAC: &str = r#""rbac.authorization.k8s.io""#;

static PRIORITY_CLASS: Type = of(&[Is("preemptionPolicy", r#""PreemptLowerPriority""#)], &[("metadata", METADATA)]);
static STORAGE_CLASS: Type =
    of(&[Is("reclaimPolicy", r#""Delete""#), Is("volumeBindingMode", r#""Immediate""#)], &[("metadata", METADATA)]);
static WEBHOOKS: Type = of(&[], &[("metadata", METADATA), ("webhooks", Items(&["name"], &WEBHOOK))]);
static WEBHOOK: Type = of(
    &[
        Is("failurePolicy", r#""Fail""#),
        Is("matchPolicy", r#""Equivalent""#),
        Is("namespaceSelector", "{}"),
        Is("objectSelector", "{}"),
        Is("timeoutSeconds", "10"),
    ],
    &[
        ("matchConditions", Items(&["name"], &ANY)),
        ("namespaceSelector", ATOMIC),
        ("objectSelector", ATOMIC),
        ("rules", Whole(&of(&[Is("scope", r#""*""#)], &[]))),
        ("clientConfig", Struct(&of(&[], &[("service", Struct(&of(&[Is("port", "443")], &[])))]))),
    ],
);
