{{/*
The webhook configuration, defined once and rendered twice: as the object, and as the copy from which the reconciler
puts it back. Every field stands here, also those that have the default's value, so that a change of any is undone.
It never holds caBundle, which the reconciler owns.
*/}}

{{/* Everybody but the GitOps identity: the reconciler's account with a token bound to a pod. */}}
{{- define "gitward.notGitOps" -}}
!(request.userInfo.username == 'system:serviceaccount:{{ .Release.Namespace }}:gitward-reconciler' && has(request.userInfo.extra) && 'authentication.kubernetes.io/pod-name' in request.userInfo.extra)
{{- end }}

{{/* The parts of Kubernetes: kube-system's accounts with a token of their own, and the components by certificate. */}}
{{- define "gitward.system" -}}
((request.userInfo.username.startsWith('system:serviceaccount:kube-system:') && has(request.userInfo.uid) && has(request.userInfo.extra) && 'authentication.kubernetes.io/credential-id' in request.userInfo.extra) || request.userInfo.username in ['system:kube-controller-manager', 'system:kube-scheduler', 'system:apiserver'] || request.userInfo.username.startsWith('system:node:'))
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
webhooks:
  # People's changes of pinned objects, by any subresource.
  - name: pinned.gitward.dev
    {{- include "gitward.entry" . | nindent 4 }}
    failurePolicy: Fail
    rules:
      - apiGroups: ["*"]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE, DELETE]
        resources: ["*/*"]
        scope: "*"
    objectSelector:
      matchExpressions: [{key: gitward.dev/sync-name, operator: Exists}]
    namespaceSelector: {}
    matchConditions:
      {{- include "gitward.people" . | nindent 6 }}
  # Changes of pinned objects by Kubernetes itself. It goes on where no guard answers; the reconciler heals.
  - name: pinned-system.gitward.dev
    {{- include "gitward.entry" . | nindent 4 }}
    failurePolicy: Ignore
    rules:
      - apiGroups: ["*"]
        apiVersions: ["*"]
        operations: [UPDATE, DELETE]
        resources: ["*"]
        scope: "*"
    objectSelector:
      matchExpressions: [{key: gitward.dev/sync-name, operator: Exists}]
    namespaceSelector: {}
    matchConditions:
      {{- include "gitward.systemOnly" . | nindent 6 }}
  # A Scale has no labels: it is asked for by namespace, and the guard looks the scaled object up.
  - name: children.gitward.dev
    {{- include "gitward.entry" . | nindent 4 }}
    failurePolicy: Fail
    rules:
      - apiGroups: ["*"]
        apiVersions: ["*"]
        operations: [UPDATE]
        resources: ["*/scale"]
        scope: Namespaced
    objectSelector: {}
    namespaceSelector:
      matchExpressions: [{key: gitward.dev/guarded, operator: Exists}]
    matchConditions:
      {{- include "gitward.people" . | nindent 6 }}
  # An autoscaler may not scale what git declares.
  - name: scale-system.gitward.dev
    {{- include "gitward.entry" . | nindent 4 }}
    failurePolicy: Ignore
    rules:
      - apiGroups: ["*"]
        apiVersions: ["*"]
        operations: [UPDATE]
        resources: ["*/scale"]
        scope: Namespaced
    objectSelector: {}
    namespaceSelector:
      matchExpressions: [{key: gitward.dev/guarded, operator: Exists}]
    matchConditions:
      {{- include "gitward.systemOnly" . | nindent 6 }}
  # Namespaces and CustomResourceDefinitions that hold pinned objects. By objectSelector, which looks at the old labels
  # too: a namespaceSelector would not see the update that takes the label off.
  - name: holders.gitward.dev
    {{- include "gitward.entry" . | nindent 4 }}
    failurePolicy: Fail
    rules:
      - apiGroups: [""]
        apiVersions: ["*"]
        operations: [UPDATE, DELETE]
        resources: [namespaces, namespaces/*]
        scope: "*"
      - apiGroups: [apiextensions.k8s.io]
        apiVersions: ["*"]
        operations: [UPDATE, DELETE]
        resources: [customresourcedefinitions, customresourcedefinitions/*]
        scope: "*"
    objectSelector:
      matchExpressions: [{key: gitward.dev/guarded, operator: Exists}]
    namespaceSelector: {}
    matchConditions:
      {{- include "gitward.people" . | nindent 6 }}
{{- end }}
