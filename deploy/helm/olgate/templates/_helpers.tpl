{{- define "olgate.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "olgate.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "olgate.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* Make whole numbers whole, in place: Helm reads each as a float, which TOML tells from those. */ -}}
{{- define "olgate.wholeNumbers" -}}
{{- $table := . -}}
{{- range $key, $value := $table -}}
{{- if kindIs "map" $value -}}
{{- include "olgate.wholeNumbers" $value -}}
{{- else if kindIs "float64" $value -}}
{{- if eq $value (floor $value) -}}
{{- $_ := set $table $key (int64 $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The settings as TOML. With hosts, the address of the one host is left out. */ -}}
{{- define "olgate.settings" -}}
{{- $settings := deepCopy .Values.settings -}}
{{- if $settings.hosts -}}
{{- $_ := set $settings "upstream" (omit ($settings.upstream | default dict) "url") -}}
{{- end -}}
{{- include "olgate.wholeNumbers" $settings -}}
{{- toToml $settings -}}
{{- end -}}

{{- /* Whether gateways share a store, and a sentence if several of them have none. */ -}}
{{- define "olgate.shared" -}}
{{- if or .Values.valkey.enabled .Values.store.url .Values.store.existingSecret -}}
true
{{- else if gt (int .Values.replicas) 1 -}}
{{- fail "several gateways need a store that they share: set valkey.enabled, store.url or store.existingSecret, or replicas to 1" -}}
{{- end -}}
{{- end -}}
