{{/* The names are fixed: there is one gitward in a cluster, and its service accounts are part of what it enforces. */}}
{{- define "gitward.labels" -}}
app.kubernetes.io/part-of: gitward
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "gitward.tlsSecret" -}}
{{- if eq .Values.certificates.source "provided" }}{{ .Values.certificates.provided.secretName }}{{ else }}gitward-guard-tls{{ end }}
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

{{/* A process answers /healthz from its first moment on, so there is nothing that a startup probe would wait for. One that is
slow for want of CPU is not mended by a restart: only one that hangs for a minute is ended. */}}
{{- define "gitward.probes" -}}
livenessProbe:
  httpGet: {path: /healthz, port: observe}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: observe}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end }}

{{/* The labels and annotations of a Pod; a list of the root, the process' name and its values. */}}
{{- define "gitward.podMetadata" -}}
{{- $root := index . 0 -}}
labels:
  app.kubernetes.io/name: {{ index . 1 }}
  {{- include "gitward.labels" $root | nindent 2 }}
  {{- with (index . 2).podLabels }}{{ toYaml . | nindent 2 }}{{ end }}
{{- with (index . 2).podAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where a Pod runs; the same list. */}}
{{- define "gitward.placement" -}}
{{- with (index . 0).Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with (index . 2).priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with (index . 2).nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with (index . 2).tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with (index . 2).affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "gitward.env" -}}
- name: GITWARD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: GITWARD_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: RUST_LOG
  value: {{ .Values.logLevel | quote }}
{{- end }}
