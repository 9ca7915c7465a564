{{/*
The webhook configuration, defined once and rendered twice: as the object, and as the copy from which the reconciler
puts it back. Every field stands here, also those that have the default's value, so that a change of any is undone.
It never holds caBundle, which is the reconciler's or cert-manager's.
*/}}

{{/* The accounts of the GitOps identity, as a JSON list of namespace/name: the reconciler's, and those of the operator that the
policy names. The same names as in core/src/verdict/owner.rs. */}}
{{- define "gitward.gitOpsAccounts" -}}
{{- $owner := dig "owner" dict (.Values.guardPolicy | default dict) -}}
{{- $accounts := list (printf "%s/gitward-reconciler" .Release.Namespace) -}}
{{- if eq (dig "preset" "Gitward" $owner) "Flux" -}}
{{- $namespace := dig "namespace" "flux-system" $owner -}}
{{- $accounts = concat $accounts (list (printf "%s/kustomize-controller" $namespace) (printf "%s/helm-controller" $namespace)) -}}
{{- else if eq (dig "preset" "Gitward" $owner) "ArgoCd" -}}
{{- $accounts = append $accounts (printf "%s/argocd-application-controller" (dig "namespace" "argocd" $owner)) -}}
{{- end -}}
{{- toJson $accounts -}}
{{- end }}

{{/* Everybody but the GitOps identity: one of its accounts with a token bound to a pod. */}}
{{- define "gitward.notGitOps" -}}
{{- $accounts := list -}}
{{- range include "gitward.gitOpsAccounts" . | fromJsonArray -}}
{{- $accounts = append $accounts (replace "/" ":" .) -}}
{{- end -}}
!(request.userInfo.username in ['system:serviceaccount:{{ $accounts | join "', 'system:serviceaccount:" }}'] && has(request.userInfo.extra) && 'authentication.kubernetes.io/pod-name' in request.userInfo.extra)
{{- end }}

{{/* The parts of Kubernetes: kube-system's accounts with a token of their own, and the components by certificate. */}}
{{- define "gitward.system" -}}
((request.userInfo.username.startsWith('system:serviceaccount:kube-system:') && has(request.userInfo.uid) && has(request.userInfo.extra) && 'authentication.kubernetes.io/credential-id' in request.userInfo.extra) || request.userInfo.username in {{ include "gitward.systemUsers" . }} || request.userInfo.username.startsWith('system:node:'))
{{- end }}

{{/* The same names as in core/src/verdict/who.rs, and what the policy adds. */}}
{{- define "gitward.systemUsers" -}}
{{- $known := list "system:kube-controller-manager" "system:kube-scheduler" "system:apiserver" "system:cloud-controller-manager" "system:k3s-controller" "system:rke2-controller" "k3s-cloud-controller-manager" "rke2-cloud-controller-manager" -}}
{{- $added := dig "callers" "system" list (.Values.guardPolicy | default dict) -}}
['{{ concat $known $added | join "', '" }}']
{{- end }}

{{- define "gitward.people" -}}
- name: not-gitops
  expression: {{ include "gitward.notGitOps" . | quote }}
- name: not-system
  expression: {{ printf "!%s" (include "gitward.system" .) | quote }}
{{- end }}

{{- define "gitward.systemOnly" -}}
- name: system
  expression: {{ include "gitward.system" . | quote }}
{{- end }}

{{- define "gitward.entry" -}}
admissionReviewVersions: [v1]
sideEffects: NoneOnDryRun
matchPolicy: Equivalent
timeoutSeconds: {{ .Values.webhook.timeoutSeconds }}
clientConfig:
  {{- if .Values.webhook.url }}
  url: {{ .Values.webhook.url }}/review
  {{- else }}
  service: {name: gitward-guard, namespace: {{ .Release.Namespace }}, path: /review, port: 443}
  {{- end }}
{{- end }}

{{/* What selects pinned objects: a list of an entry's name, its selector and a condition. With Argo CD the mark is an
annotation, which no selector sees. */}}
{{- define "gitward.marks" -}}
{{- $preset := dig "owner" "preset" "Gitward" (.Values.guardPolicy | default dict) -}}
{{- if eq $preset "Flux" }}
- {name: pinned, label: kustomize.toolkit.fluxcd.io/name}
- {name: pinned-helm, label: helm.toolkit.fluxcd.io/name}
{{- else if eq $preset "ArgoCd" }}
- {name: pinned, annotation: argocd.argoproj.io/tracking-id}
- {name: pinned-instance, label: app.kubernetes.io/instance}
{{- else }}
- {name: pinned, label: gitward.dev/sync-name}
{{- end }}
{{- end }}

{{/* gitward's own namespace is protected by admission policies. A dead guard must not keep Helm from repairing it. */}}
{{- define "gitward.notOwn" -}}
- {key: kubernetes.io/metadata.name, operator: NotIn, values: [{{ .Release.Namespace }}]}
{{- end }}

{{- define "gitward.selectMark" -}}
{{- if .label }}
objectSelector:
  matchExpressions: [{key: {{ .label }}, operator: Exists}]
{{- else }}
objectSelector: {}
{{- end }}
namespaceSelector: {}
{{- end }}

{{- define "gitward.markCondition" -}}
{{- with .annotation }}
- name: tracked
  expression: "[object, oldObject].exists(o, o != null && has(o.metadata) && has(o.metadata.annotations) && '{{ . }}' in o.metadata.annotations)"
{{- end }}
{{- end }}

{{/* What bears a mark is asked about by the entries for pinned objects: twice would cost twice, and count twice. */}}
{{- define "gitward.unmarked" -}}
{{- $marks := list -}}
{{- range include "gitward.marks" . | fromYamlArray -}}
{{- $map := ternary "labels" "annotations" (hasKey . "label") -}}
{{- $marks = append $marks (printf "(has(o.metadata.%s) && '%s' in o.metadata.%s)" $map (.label | default .annotation) $map) -}}
{{- end -}}
- name: unmarked
  expression: {{ printf "![object, oldObject].exists(o, o != null && has(o.metadata) && (%s))" ($marks | join " || ") | quote }}
{{- end }}

{{- define "gitward.webhook" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata:
  name: gitward
  labels:
    {{- include "gitward.labels" . | nindent 4 }}
    # Keeps AKS from rewriting the selectors.
    admissions.enforcer/disabled: "true"
  annotations:
    meta.helm.sh/release-name: {{ .Release.Name }}
    meta.helm.sh/release-namespace: {{ .Release.Namespace }}
    {{- if eq .Values.certificates.source "cert-manager" }}
    cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/{{ .Values.certificates.certManager.certificate }}
    {{- end }}
webhooks:
  {{- range include "gitward.marks" . | fromYamlArray }}
  # People's changes of pinned objects, by any subresource.
  - name: {{ .name }}.gitward.dev
    {{- include "gitward.entry" $ | nindent 4 }}
    failurePolicy: Fail
    rules:
      - apiGroups: ["*"]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE, DELETE]
        resources: ["*/*"]
        scope: "*"
    {{- include "gitward.selectMark" . | nindent 4 }}
    matchConditions:
      {{- include "gitward.people" $ | nindent 6 }}
      {{- include "gitward.markCondition" . | nindent 6 }}
  # Changes of pinned objects by Kubernetes itself. It goes on where no guard answers; the reconciler heals.
  - name: {{ .name }}-system.gitward.dev
    {{- include "gitward.entry" $ | nindent 4 }}
    failurePolicy: Ignore
    rules:
      - apiGroups: ["*"]
        apiVersions: ["*"]
        operations: [UPDATE, DELETE]
        resources: ["*"]
        scope: "*"
    {{- include "gitward.selectMark" . | nindent 4 }}
    matchConditions:
      {{- include "gitward.systemOnly" $ | nindent 6 }}
      {{- include "gitward.markCondition" . | nindent 6 }}
  {{- end }}
  # What belongs to pinned objects, or would if it were let in, and bears no label of gitward's: it is asked for by
  # namespace, and the guard looks up what it belongs to.
  - name: children.gitward.dev
    {{- include "gitward.entry" . | nindent 4 }}
    failurePolicy: Fail
    rules:
      - apiGroups: ["*"]
        apiVersions: ["*"]
        operations: [UPDATE]
        resources: ["*/scale"]
        scope: "*"
      - apiGroups: [""]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE, DELETE, CONNECT]
        resources: [pods, pods/*]
        scope: Namespaced
      - apiGroups: [""]
        apiVersions: ["*"]
        operations: [CONNECT]
        resources: [services/proxy]
        scope: Namespaced
      # The Service of a StatefulSet gives its Pods their names.
      - apiGroups: [""]
        apiVersions: ["*"]
        operations: [CREATE]
        resources: [services]
        scope: Namespaced
      - apiGroups: [""]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE, DELETE]
        resources: [bindings, endpoints, persistentvolumeclaims, persistentvolumeclaims/status, replicationcontrollers]
        scope: Namespaced
      - apiGroups: [apps]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE, DELETE]
        resources: [replicasets, replicasets/status, controllerrevisions]
        scope: Namespaced
      - apiGroups: [apps]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE]
        resources: [daemonsets, deployments, statefulsets]
        scope: Namespaced
      - apiGroups: [batch]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE, DELETE]
        resources: [jobs, jobs/status, cronjobs]
        scope: Namespaced
      - apiGroups: [discovery.k8s.io]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE, DELETE]
        resources: [endpointslices]
        scope: Namespaced
      - apiGroups: [autoscaling, autoscaling.k8s.io, keda.sh]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE]
        resources: [horizontalpodautoscalers, verticalpodautoscalers, scaledobjects]
        scope: Namespaced
    objectSelector: {}
    namespaceSelector:
      matchExpressions:
        - {key: gitward.dev/guarded, operator: Exists}
        {{- include "gitward.notOwn" . | nindent 8 }}
    matchConditions:
      {{- include "gitward.people" . | nindent 6 }}
      {{- include "gitward.unmarked" . | nindent 6 }}
  # Whatever has owners, of any other kind: what a pinned custom resource makes.
  - name: owned.gitward.dev
    {{- include "gitward.entry" . | nindent 4 }}
    failurePolicy: Fail
    rules:
      - apiGroups: ["*"]
        apiVersions: ["*"]
        operations: [UPDATE, DELETE]
        resources: ["*"]
        scope: Namespaced
    objectSelector: {}
    namespaceSelector:
      matchExpressions:
        - {key: gitward.dev/guarded, operator: Exists}
        {{- include "gitward.notOwn" . | nindent 8 }}
    matchConditions:
      {{- include "gitward.people" . | nindent 6 }}
      {{- include "gitward.unmarked" . | nindent 6 }}
      - name: owned
        expression: has(oldObject.metadata.ownerReferences)
      # The entry before this asks about these.
      - name: no-child
        expression: "!((request.resource.group == '' && request.resource.resource in ['pods', 'endpoints', 'persistentvolumeclaims', 'replicationcontrollers']) || (request.resource.group == 'apps' && request.resource.resource in ['replicasets', 'controllerrevisions']) || (request.resource.group == 'batch' && request.resource.resource in ['jobs', 'cronjobs']) || (request.resource.group == 'discovery.k8s.io' && request.resource.resource == 'endpointslices'))"
  # An autoscaler may not scale what git declares.
  - name: scale-system.gitward.dev
    {{- include "gitward.entry" . | nindent 4 }}
    failurePolicy: Ignore
    rules:
      - apiGroups: ["*"]
        apiVersions: ["*"]
        operations: [UPDATE]
        resources: ["*/scale"]
        scope: "*"
    objectSelector: {}
    namespaceSelector:
      matchExpressions:
        - {key: gitward.dev/guarded, operator: Exists}
        {{- include "gitward.notOwn" . | nindent 8 }}
    matchConditions:
      {{- include "gitward.systemOnly" . | nindent 6 }}
  # Namespaces that are git's alone: nothing is created there by hand.
  - name: exclusive.gitward.dev
    {{- include "gitward.entry" . | nindent 4 }}
    failurePolicy: Fail
    rules:
      - apiGroups: ["*"]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE, DELETE]
        resources: ["*/*"]
        scope: Namespaced
    objectSelector: {}
    namespaceSelector:
      matchExpressions:
        - {key: gitward.dev/exclusive, operator: Exists}
        {{- include "gitward.notOwn" . | nindent 8 }}
    matchConditions:
      {{- include "gitward.people" . | nindent 6 }}
      {{- include "gitward.unmarked" . | nindent 6 }}
  {{- range $label := list "guarded" "exclusive" }}
  # Namespaces and CustomResourceDefinitions that are {{ $label }}. By objectSelector, which looks at the old labels
  # too: a namespaceSelector would not see the update that takes the label off.
  - name: {{ $label }}-holders.gitward.dev
    {{- include "gitward.entry" $ | nindent 4 }}
    failurePolicy: Fail
    rules:
      - apiGroups: [""]
        apiVersions: ["*"]
        operations: [UPDATE, DELETE]
        resources: [namespaces, namespaces/*]
        scope: "*"
      {{- if eq $label "guarded" }}
      - apiGroups: [apiextensions.k8s.io]
        apiVersions: ["*"]
        operations: [UPDATE, DELETE]
        resources: [customresourcedefinitions, customresourcedefinitions/*]
        scope: "*"
      {{- end }}
    objectSelector:
      matchExpressions: [{key: gitward.dev/{{ $label }}, operator: Exists}]
    namespaceSelector: {}
    matchConditions:
      {{- include "gitward.people" $ | nindent 6 }}
  # The garbage collector: an owner that git does not declare would let it delete what holds pinned objects.
  - name: {{ $label }}-holders-system.gitward.dev
    {{- include "gitward.entry" $ | nindent 4 }}
    failurePolicy: Ignore
    rules:
      - apiGroups: [""]
        apiVersions: ["*"]
        operations: [DELETE]
        resources: [namespaces]
        scope: "*"
      {{- if eq $label "guarded" }}
      - apiGroups: [apiextensions.k8s.io]
        apiVersions: ["*"]
        operations: [DELETE]
        resources: [customresourcedefinitions]
        scope: "*"
      {{- end }}
    objectSelector:
      matchExpressions: [{key: gitward.dev/{{ $label }}, operator: Exists}]
    namespaceSelector: {}
    matchConditions:
      {{- include "gitward.systemOnly" $ | nindent 6 }}
  {{- end }}
  {{- range $fails := list false true }}
  # Roles that a pinned ClusterRole would take in{{ if $fails }}, of those that say that they are to be{{ else }}. Any ClusterRole may be: it is not worth that none can
  # be created while no guard answers{{ end }}.
  - name: {{ if $fails }}aggregating{{ else }}aggregation{{ end }}.gitward.dev
    {{- include "gitward.entry" $ | nindent 4 }}
    failurePolicy: {{ if $fails }}Fail{{ else }}Ignore{{ end }}
    rules:
      - apiGroups: [rbac.authorization.k8s.io]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE]
        resources: [clusterroles]
        scope: Cluster
    objectSelector: {}
    namespaceSelector: {}
    matchConditions:
      {{- include "gitward.people" $ | nindent 6 }}
      # gitward's own are protected by an admission policy, and Helm must be able to repair a dead guard.
      - name: aggregates
        expression: "{{ if not $fails }}!{{ end }}(!(has(object.metadata.name) && object.metadata.name.startsWith('gitward-')) && has(object.metadata.labels) && object.metadata.labels.exists(k, k.contains('/aggregate-to-')))"
  {{- end }}
{{- end }}
