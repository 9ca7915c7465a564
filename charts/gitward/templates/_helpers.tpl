{{/* The names are fixed: there is one gitward in a cluster, and its service accounts are part of what it enforces. */}}
{{- define "gitward.labels" -}}
app.kubernetes.io/part-of: gitward
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "gitward.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* What every container has: no root, nothing to write, no capabilities (Pod Security Standard "restricted"). */}}
{{- define "gitward.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "gitward.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "gitward.probes" -}}
livenessProbe:
  httpGet: {path: /healthz, port: observe}
  periodSeconds: 10
readinessProbe:
  httpGet: {path: /readyz, port: observe}
  periodSeconds: 5
{{- end }}

{{- define "gitward.env" -}}
- name: GITWARD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: GITWARD_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: RUST_LOG
  value: {{ .Values.logLevel | quote }}
{{- end }}
