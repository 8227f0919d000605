{{/*
Settings: each camelCase value is the RELAY_ variable of the same name, so no table of names can become stale. Plain settings
are environment variables from a ConfigMap; secret ones are files under RELAY_SECRETS_DIR, never environment variables.
*/}}

{{- define "kling-relay.settingName" -}}
RELAY_{{ snakecase . | upper }}
{{- end }}

{{/* A value as text: lists are separated by commas, whole numbers are never written as 1e+06. */}}
{{- define "kling-relay.settingText" -}}
{{- if kindIs "slice" . -}}
{{- join "," . }}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . }}
{{- else -}}
{{- . | toString }}
{{- end }}
{{- end }}

{{/* The public URL that the provider calls back. */}}
{{- define "kling-relay.publicUrl" -}}
{{- if .Values.settings.publicUrl -}}
{{- tpl .Values.settings.publicUrl . }}
{{- else if .Values.callbacks.host -}}
{{- printf "%s://%s%s" .Values.callbacks.scheme (tpl .Values.callbacks.host .) (trimSuffix "/callbacks" .Values.callbacks.path) }}
{{- else -}}
{{- printf "http://%s.%s.svc:%v" (include "kling-relay.fullname" .) .Release.Namespace .Values.service.port }}
{{- end }}
{{- end }}

{{/* The ConfigMap's data. Empty values are left out, so that the service uses its defaults. */}}
{{- define "kling-relay.environment" -}}
RELAY_PUBLIC_URL: {{ include "kling-relay.publicUrl" . | quote }}
{{- range $name, $value := omit .Values.settings "publicUrl" }}
{{- $text := include "kling-relay.settingText" $value }}
{{- if and (not (kindIs "invalid" $value)) (ne $text "") }}
{{ include "kling-relay.settingName" $name }}: {{ tpl $text $ | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "kling-relay.secretsDir" -}}
/etc/kling-relay/secrets
{{- end }}

{{/* The secret settings without a default. */}}
{{- define "kling-relay.requiredSecrets" -}}
databaseUrl signingKeys
{{- end }}

{{/* The source of a secret setting: {secret, key, path, optional}, or {} if it is unset. (root, name) */}}
{{- define "kling-relay.secretSource" -}}
{{- $secrets := .root.Values.secrets }}
{{- $entry := index $secrets .name }}
{{- $setting := include "kling-relay.settingName" .name }}
{{- $required := has .name (splitList " " (include "kling-relay.requiredSecrets" .root)) }}
{{- $source := dict }}
{{- if $entry.existingSecret }}
{{- $source = dict "secret" (tpl $entry.existingSecret .root) "key" ($entry.key | default $setting) "optional" false }}
{{- else if $entry.value }}
{{- $source = dict "secret" (include "kling-relay.fullname" .root) "key" $setting "optional" false }}
{{- else if $secrets.existingSecret }}
{{- $source = dict "secret" (tpl $secrets.existingSecret .root) "key" ($entry.key | default $setting) "optional" (not $required) }}
{{- end }}
{{- if $source }}{{ $_ := set $source "path" $setting }}{{ end }}
{{- toYaml $source }}
{{- end }}

{{- define "kling-relay.secretNames" -}}
{{- keys (omit .Values.secrets "existingSecret") | sortAlpha | join " " }}
{{- end }}

{{/* The data of the chart's own Secret, from values in plain text; for trials only. */}}
{{- define "kling-relay.secretData" -}}
{{- range $name := splitList " " (include "kling-relay.secretNames" .) }}
{{- $entry := index $.Values.secrets $name }}
{{- if and $entry.value (not $entry.existingSecret) }}
{{ include "kling-relay.settingName" $name }}: {{ $entry.value | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Sources of the projected volume, one per secret setting, so that each can have a Secret of its own. (root, component) */}}
{{- define "kling-relay.secretSources" -}}
{{- $root := .root }}
{{- $direct := and (eq .component "migrate") $root.Values.migrations.database.existingSecret }}
{{- range $name := splitList " " (include "kling-relay.secretNames" $root) }}
{{- $source := include "kling-relay.secretSource" (dict "root" $root "name" $name) | fromYaml }}
{{- if and $direct (eq $name "databaseUrl") }}
{{- $source = dict "secret" (tpl $direct $root) "key" $root.Values.migrations.database.key "path" "RELAY_DATABASE_URL" "optional" false }}
{{- end }}
{{- if $source }}
- secret:
    name: {{ $source.secret }}
    optional: {{ $source.optional }}
    items:
      - key: {{ $source.key }}
        path: {{ $source.path }}
{{- end }}
{{- end }}
{{- end }}
