{{- define "secagg.name" -}}
{{- if not (regexMatch "^[a-z][-a-z0-9]*$" .Release.Name) }}
{{- fail (printf "the release is called %s, which is no name for a Service; begin it with a letter, and use small letters, digits and hyphens" .Release.Name) }}
{{- end }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "secagg.selector" -}}
app.kubernetes.io/name: secagg
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "secagg.labels" -}}
{{ include "secagg.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* REPOSITORY@DIGEST or REPOSITORY:TAG. Takes a list of an image's values and its usual tag. */ -}}
{{- define "secagg.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{- $tag := $image.tag | default (index . 1) -}}
{{- if eq $tag "latest" -}}
{{- fail (printf "the image %s has the tag latest, which may be another image tomorrow; write a tag of one release, or a digest" $image.repository) -}}
{{- end -}}
{{ $image.repository }}:{{ $tag }}
{{- end -}}
{{- end }}

{{- /* A value as TOML: JSON, but for tables, which are written in line. */ -}}
{{- define "secagg.toml" -}}
{{- if kindIs "map" . -}}
{ {{- range $i, $key := keys . | sortAlpha }}{{ if $i }}, {{ end }}{{ toJson $key }} = {{ include "secagg.toml" (index $ $key) }}{{ end -}} }
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end }}

{{- /* Every address of the pod. */ -}}
{{- define "secagg.every" -}}
{{ ternary "[::]" "0.0.0.0" .Values.ipv6 }}
{{- end }}

{{- /* The settings file. */ -}}
{{- define "secagg.settings" -}}
listen = "{{ include "secagg.every" . }}:7443"
control = "unix:/run/secagg/control.sock"
control_access = "group"
status = "{{ include "secagg.every" . }}:9464"
certificate = "/etc/secagg/cert.pem"
key = "/etc/secagg/key.pem"
participant_ca = "/etc/secagg/ca.pem"
{{- if .Values.ledger.enabled }}
state_dir = "/var/lib/secagg/state"
ledger_dir = "/var/lib/secagg/ledger"
{{- end }}
{{- if .Values.gateway.enabled }}
gateway = "{{ include "secagg.every" . }}:8443"
gateway_token_key = "/etc/secagg/token.keys"
{{- if .Values.gateway.certificateSecret }}
gateway_certificate = "/etc/secagg/gateway-cert.pem"
gateway_key = "/etc/secagg/gateway-key.pem"
{{- end }}
{{- end }}
{{- range $name := keys .Values.settings | sortAlpha }}
{{ $name }} = {{ include "secagg.toml" (index $.Values.settings $name) }}
{{- end }}
{{- end }}

{{- define "secagg.claim" -}}
{{ .Values.ledger.existingClaim | default (printf "%s-ledger" (include "secagg.name" .)) }}
{{- end }}

{{- define "secagg.restricted" -}}
allowPrivilegeEscalation: false
privileged: false
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}
