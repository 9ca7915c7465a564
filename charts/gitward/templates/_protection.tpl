{{/*
What protects gitward itself, defined once and rendered twice, as the webhook configuration is: as objects, and as the
copy from which the reconciler puts them back. ValidatingAdmissionPolicies run in the API server: they cannot be down. They
are not evaluated for policies and bindings themselves; those are only put back.
*/}}

{{- define "gitward.protection.installers" -}}
{{- $users := .Values.installers.users -}}
{{- range .Values.installers.serviceAccounts -}}
{{- $users = append $users (printf "system:serviceaccount:%s" (replace "/" ":" .)) -}}
{{- end -}}
- name: not-installer
  expression: {{ printf "!(request.userInfo.username in %s || (has(request.userInfo.groups) && request.userInfo.groups.exists(g, g in %s)))" (toJson $users) (toJson .Values.installers.groups) | quote }}
{{- end }}

{{/* Where cert-manager issues the guard's certificate: its controllers, with the token of their Pod. */}}
{{- define "gitward.protection.certManager" -}}
request.userInfo.username == 'system:serviceaccount:{{ .root.Values.certificates.certManager.namespace }}:{{ .account }}' && has(request.userInfo.extra) && 'authentication.kubernetes.io/pod-name' in request.userInfo.extra
{{- end }}

{{- define "gitward.protection.head" -}}
metadata:
  name: {{ .name }}
  labels:
    {{- include "gitward.labels" .root | nindent 4 }}
  annotations:
    meta.helm.sh/release-name: {{ .root.Release.Name }}
    meta.helm.sh/release-namespace: {{ .root.Release.Namespace }}
{{- end }}

{{/* The accounts that the controller manager uses without any Pod. The same list as in core/src/names.rs. */}}
{{- define "gitward.controllerAccounts" -}}
'attachdetach-controller', 'bootstrap-signer', 'certificate-controller', 'cloud-provider',
'clusterrole-aggregation-controller', 'cronjob-controller', 'daemon-set-controller', 'deployment-controller',
'device-taint-eviction-controller', 'disruption-controller', 'endpoint-controller', 'endpointslice-controller',
'endpointslicemirroring-controller', 'ephemeral-volume-controller', 'expand-controller', 'generic-garbage-collector',
'horizontal-pod-autoscaler', 'job-controller', 'kube-apiserver-serving-clustertrustbundle-publisher',
'legacy-service-account-token-cleaner', 'namespace-controller', 'node-controller', 'persistent-volume-binder',
'pod-garbage-collector', 'podcertificaterequestcleaner', 'podgroup-protection-controller',
'pv-protection-controller', 'pvc-protection-controller', 'replicaset-controller', 'replication-controller',
'resource-claim-controller', 'resourcepoolstatusrequest-controller', 'resourcequota-controller',
'root-ca-cert-publisher', 'route-controller', 'selinux-warning-controller', 'service-account-controller',
'service-cidrs-controller', 'service-controller', 'statefulset-controller', 'storage-version-garbage-collector',
'storage-version-migrator-controller', 'token-cleaner', 'ttl-after-finished-controller', 'ttl-controller',
'validatingadmissionpolicy-status-controller', 'volumeattributesclass-protection-controller'
{{- end }}

{{/* The accounts that the guard trusts, as a list of CEL: the GitOps identities, operators and installers. The same as in
core/src/verdict/rules/self_protection.rs; those of the presets as in src/guard/policy.rs. */}}
{{- define "gitward.trustedAccounts" -}}
{{- $presets := dict
  "CertManager" (list "cert-manager/cert-manager" "cert-manager/cert-manager-cainjector")
  "Keda" (list "keda/keda-operator")
  "ArgoRollouts" (list "argo-rollouts/argo-rollouts")
  "Flagger" (list "flagger-system/flagger" "istio-system/flagger")
  "ExternalSecrets" (list "external-secrets/external-secrets")
  "Istio" (list "istio-system/istiod" "istio-system/istiod-service-account")
  "VerticalPodAutoscaler" (list "kube-system/vpa-updater" "kube-system/vpa-recommender" "kube-system/vpa-admission-controller")
-}}
{{- $policy := .Values.guardPolicy | default dict -}}
{{- $accounts := include "gitward.gitOpsAccounts" . | fromJsonArray -}}
{{- $accounts = concat $accounts (dig "callers" "operators" list $policy) .Values.installers.serviceAccounts -}}
{{- range dig "callers" "presets" list $policy -}}
{{- $accounts = concat $accounts (get $presets .) -}}
{{- end -}}
['{{ $accounts | uniq | join "', '" }}']
{{- end }}

{{- define "gitward.protection.binding" -}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
{{ include "gitward.protection.head" . }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
{{ include "gitward.protection.head" . }}
{{- end }}

{{- define "gitward.protection" -}}
{{- $guard := printf "system:serviceaccount:%s:gitward-guard" .Release.Namespace -}}
{{- $ask := "Ask an installer of gitward (the chart's value `installers`)." -}}
# gitward's namespace: nothing that could read or wear the reconciler's token, or stop the guard. Drains work.
{{ include "gitward.protection.binding" (dict "root" . "name" "gitward-namespace") }}
spec:
  failurePolicy: Fail
  matchConstraints:
    matchPolicy: Equivalent
    namespaceSelector:
      matchLabels: {kubernetes.io/metadata.name: {{ .Release.Namespace }}}
    objectSelector: {}
    resourceRules:
      - apiGroups: ["*"]
        apiVersions: ["*"]
        operations: ["*"]
        resources: ["*/*"]
        scope: Namespaced
      - apiGroups: [""]
        apiVersions: ["*"]
        operations: [UPDATE, DELETE]
        resources: [namespaces, namespaces/*]
        scope: Cluster
  matchConditions:
    {{- include "gitward.people" . | nindent 4 }}
    {{- include "gitward.protection.installers" . | nindent 4 }}
    - name: no-drain
      expression: "!(request.resource.resource == 'pods' && has(request.subResource) && request.subResource == 'eviction')"
    - name: no-question
      expression: request.resource.group != 'authorization.k8s.io'
    - name: no-record
      expression: "!(request.resource.group == 'gitward.dev' && request.resource.resource == 'blockedchanges')"
    {{- if eq .Values.certificates.source "cert-manager" }}
    - name: no-certificate
      expression: "!({{ include "gitward.protection.certManager" (dict "root" . "account" "cert-manager") }} && (request.resource.group == 'cert-manager.io' || request.resource.resource == 'events' || (request.resource.resource == 'secrets' && [object, oldObject].all(o, o == null || o.metadata.name.startsWith('gitward-guard')))))"
    {{- end }}
  validations:
    - expression: "false"
      reason: Forbidden
      message: {{ printf "Namespace %s is gitward's own: whoever writes there could act in the reconciler's place. %s" .Release.Namespace $ask | quote }}
# A token of a kube-system account makes its bearer a part of Kubernetes, which nobody can tell from the real one.
{{ include "gitward.protection.binding" (dict "root" . "name" "gitward-system-tokens") }}
spec:
  failurePolicy: Fail
  matchConstraints:
    matchPolicy: Equivalent
    namespaceSelector:
      matchLabels: {kubernetes.io/metadata.name: kube-system}
    objectSelector: {}
    resourceRules:
      - apiGroups: [""]
        apiVersions: ["*"]
        operations: [CREATE]
        resources: [serviceaccounts/token]
        scope: Namespaced
  matchConditions:
    {{- include "gitward.people" . | nindent 4 }}
    {{- include "gitward.protection.installers" . | nindent 4 }}
  validations:
    - expression: "false"
      reason: Forbidden
      message: {{ printf "The bearer of a token of kube-system would be taken for a part of Kubernetes, which may do more than people. %s" $ask | quote }}
# A token of an account that the guard trusts makes its bearer the GitOps identity, an operator, or an installer.
{{ include "gitward.protection.binding" (dict "root" . "name" "gitward-trusted-tokens") }}
spec:
  failurePolicy: Fail
  matchConstraints:
    matchPolicy: Equivalent
    # Those of gitward's own namespace are refused by its policy, with what it says.
    namespaceSelector:
      matchExpressions:
        {{- include "gitward.notOwn" . | nindent 8 }}
    objectSelector: {}
    resourceRules:
      - apiGroups: [""]
        apiVersions: ["*"]
        operations: [CREATE]
        resources: [serviceaccounts/token]
        scope: Namespaced
  matchConditions:
    {{- include "gitward.people" . | nindent 4 }}
    {{- include "gitward.protection.installers" . | nindent 4 }}
    - name: trusted
      expression: {{ printf "(request.namespace + '/' + request.name) in %s" (include "gitward.trustedAccounts" .) | quote }}
  validations:
    - expression: "false"
      reason: Forbidden
      message: {{ printf "The guard trusts this account (the chart's values guardPolicy and installers): the bearer of its token could act in its place. %s" $ask | quote }}
# So does a Pod under an account that the controller manager uses without any Pod. Pods are made by controllers, which are asked for
# nothing: so it is refused where a person says what they make. A StatefulSet's Pods also come from its ControllerRevisions.
{{ include "gitward.protection.binding" (dict "root" . "name" "gitward-system-accounts") }}
spec:
  failurePolicy: Fail
  matchConstraints:
    matchPolicy: Equivalent
    namespaceSelector:
      matchLabels: {kubernetes.io/metadata.name: kube-system}
    objectSelector: {}
    resourceRules:
      - apiGroups: [""]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE]
        resources: [pods, replicationcontrollers]
        scope: Namespaced
      - apiGroups: [apps]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE]
        resources: [controllerrevisions, daemonsets, deployments, replicasets, statefulsets]
        scope: Namespaced
      - apiGroups: [batch]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE]
        resources: [cronjobs, jobs]
        scope: Namespaced
  matchConditions:
    {{- include "gitward.people" . | nindent 4 }}
    {{- include "gitward.protection.installers" . | nindent 4 }}
  variables:
    # dyn: each kind has one of them, and the API server would warn of the others.
    - name: accounts
      expression: "[dyn(object).?spec.?serviceAccountName, dyn(object).?spec.?template.?spec.?serviceAccountName, dyn(object).?spec.?jobTemplate.?spec.?template.?spec.?serviceAccountName, dyn(object).?data.?spec.?template.?spec.?serviceAccountName, dyn(object).?data.?spec.?template.?spec.?serviceAccount]"
  validations:
    - expression: {{ printf "!variables.accounts.exists(a, a.orValue('') in [%s])" (include "gitward.controllerAccounts" . | replace "\n" " ") | quote }}
      reason: Forbidden
      message: {{ printf "This account is the controller manager's: a Pod under it would be taken for a part of Kubernetes. %s" $ask | quote }}
# A command run through a kubelet is seen by no webhook of Pods.
{{ include "gitward.protection.binding" (dict "root" . "name" "gitward-node-proxy") }}
spec:
  failurePolicy: Fail
  matchConstraints:
    matchPolicy: Equivalent
    namespaceSelector: {}
    objectSelector: {}
    resourceRules:
      - apiGroups: [""]
        apiVersions: ["*"]
        operations: [CONNECT]
        resources: [nodes/proxy]
        scope: Cluster
  matchConditions:
    {{- include "gitward.people" . | nindent 4 }}
    {{- include "gitward.protection.installers" . | nindent 4 }}
  validations:
    # The same paths as in core/src/verdict/own.rs.
    - expression: "has(object.path) && object.path.matches('^/?(metrics|metrics/cadvisor|metrics/resource|metrics/probes|metrics/slis|stats/summary|healthz|configz|pods)/?$')"
      reason: Forbidden
      message: {{ printf "Through a node's proxy one can run commands in any Pod; only what it measures may be read. %s" $ask | quote }}
# gitward's own cluster-scoped objects. By the object's name: that of the request is empty for a collection.
{{ include "gitward.protection.binding" (dict "root" . "name" "gitward-own-objects") }}
spec:
  failurePolicy: Fail
  matchConstraints:
    matchPolicy: Equivalent
    namespaceSelector: {}
    objectSelector: {}
    resourceRules:
      - apiGroups: [apiextensions.k8s.io]
        apiVersions: ["*"]
        operations: [UPDATE, DELETE]
        resources: [customresourcedefinitions, customresourcedefinitions/*]
        scope: Cluster
      - apiGroups: [rbac.authorization.k8s.io]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE, DELETE]
        resources: [clusterroles, clusterrolebindings]
        scope: Cluster
      - apiGroups: [admissionregistration.k8s.io]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE, DELETE]
        resources: [validatingwebhookconfigurations]
        scope: Cluster
      - apiGroups: [flowcontrol.apiserver.k8s.io]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE, DELETE]
        resources: [flowschemas]
        scope: Cluster
      - apiGroups: [gitward.dev]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE, DELETE]
        resources: [guardpolicies]
        scope: Cluster
  matchConditions:
    {{- include "gitward.people" . | nindent 4 }}
    {{- include "gitward.protection.installers" . | nindent 4 }}
    {{- if eq .Values.certificates.source "cert-manager" }}
    # It writes caBundle; everything else is put back.
    - name: no-injector
      expression: "!({{ include "gitward.protection.certManager" (dict "root" . "account" "cert-manager-cainjector") }} && request.operation == 'UPDATE' && request.resource.resource == 'validatingwebhookconfigurations')"
    {{- end }}
    - name: own
      expression: "request.resource.resource == 'guardpolicies' || [object, oldObject].exists(o, o != null && has(o.metadata.name) && (o.metadata.name == 'gitward' || o.metadata.name.startsWith('gitward-') || o.metadata.name.endsWith('.gitward.dev')))"
  validations:
    - expression: "false"
      reason: Forbidden
      message: {{ printf "This is a part of gitward: without it the guard would no longer stand. An installer lets changes through for a time with `gitward disable --reason`. %s" $ask | quote }}
# The audit trail is the guard's, and nobody else's: not even an installer may rewrite it.
{{ include "gitward.protection.binding" (dict "root" . "name" "gitward-records") }}
spec:
  failurePolicy: Fail
  matchConstraints:
    matchPolicy: Equivalent
    namespaceSelector: {}
    objectSelector: {}
    resourceRules:
      - apiGroups: [gitward.dev]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE, DELETE]
        resources: [blockedchanges, blockedchanges/*]
        scope: Namespaced
  matchConditions:
    - name: not-guard
      expression: "!(request.userInfo.username == '{{ $guard }}' && has(request.userInfo.extra) && 'authentication.kubernetes.io/pod-name' in request.userInfo.extra)"
    - name: not-system
      expression: {{ printf "!%s" (include "gitward.system" .) | quote }}
  validations:
    - expression: "false"
      reason: Forbidden
      message: BlockedChanges are the record of what was refused; only the guard writes them, and it removes those that are old.
# Whoever writes a GitSync may do what it may do.
{{ include "gitward.protection.binding" (dict "root" . "name" "gitward-gitsyncs") }}
spec:
  failurePolicy: Fail
  matchConstraints:
    matchPolicy: Equivalent
    namespaceSelector:
      matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [{{ .Release.Namespace }}]}]
    objectSelector: {}
    resourceRules:
      - apiGroups: [gitward.dev]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE, DELETE]
        resources: [gitsyncs, gitsyncs/*]
        scope: Namespaced
  matchConditions:
    {{- include "gitward.people" . | nindent 4 }}
    {{- include "gitward.protection.installers" . | nindent 4 }}
  variables:
    - name: syncs
      expression: "[object, oldObject].filter(o, o != null)"
  validations:
    - expression: "!has(request.subResource) || request.subResource == ''"
      reason: Forbidden
      message: Only the reconciler writes the status of a GitSync.
    - expression: "variables.syncs.all(o, has(o.spec.serviceAccountName))"
      reason: Invalid
      message: {{ printf "Outside of %s a GitSync acts as a service account of its namespace: set spec.serviceAccountName." .Release.Namespace | quote }}
    - expression: "variables.syncs.all(o, !has(o.spec.serviceAccountName) || authorizer.group('').resource('serviceaccounts').namespace(request.namespace).name(o.spec.serviceAccountName).check('impersonate').allowed())"
      reason: Forbidden
      message: A GitSync may do what its service account may do; to write one takes the right to impersonate that account.
{{- end }}
