{{/* Names and labels, and what must be said before anything is installed. */}}
{{- define "engram.name" -}}
{{- if contains "engram" .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-engram" .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "engram.selector" -}}
app.kubernetes.io/name: engram
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Of the server; the job that has it copied is another component. */}}
{{- define "engram.serverSelector" -}}
{{ include "engram.selector" . }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "engram.labels" -}}
{{ include "engram.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "engram.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* As the systemd unit has it. */}}
{{- define "engram.podSecurity" -}}
runAsNonRoot: true
runAsUser: 7401
runAsGroup: 7401
fsGroup: 7401
# Every time would open the data folder to the group, and engramd refuses such a folder.
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "engram.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "engram.require" -}}
{{- if not .Values.tls.secretName -}}
{{- fail "tls.secretName: required: off loopback engramd listens with TLS only; name a Secret of type kubernetes.io/tls" -}}
{{- end -}}
{{- if not (or .Values.authentication.tokensSecretName .Values.tls.clientCertificates) -}}
{{- fail "authentication.tokensSecretName: required, unless tls.clientCertificates is true: who may call?" -}}
{{- end -}}
{{- if and .Values.backups.enabled (not .Values.backups.adminSecretName) -}}
{{- fail "backups.adminSecretName: required with backups.enabled: a Secret with an admin's token and ca.crt" -}}
{{- end -}}
{{- end -}}
