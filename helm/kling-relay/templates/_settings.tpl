{{/*
Settings: a camelCase value is the RELAY_ variable of the same words, so that this chart has no table of names to fall behind.
Plain settings are a ConfigMap read as environment; secret ones are files under RELAY_SECRETS_DIR, never environment.
*/}}

{{- define "kling-relay.settingName" -}}
RELAY_{{ snakecase . | upper }}
{{- end }}

{{/* A value as text: lists are comma separated, and a whole number never comes out as 1e+06. */}}
{{- define "kling-relay.settingText" -}}
{{- if kindIs "slice" . -}}
{{- join "," . }}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . }}
{{- else -}}
{{- . | toString }}
{{- end }}
{{- end }}

{{/* Where the provider's callbacks arrive, as it sees it. */}}
{{- define "kling-relay.publicUrl" -}}
{{- if .Values.settings.publicUrl -}}
{{- tpl .Values.settings.publicUrl . }}
{{- else if .Values.callbacks.host -}}
{{- printf "%s://%s%s" .Values.callbacks.scheme (tpl .Values.callbacks.host .) (trimSuffix "/callbacks" .Values.callbacks.path) }}
{{- else -}}
{{- printf "http://%s.%s.svc:%v" (include "kling-relay.fullname" .) .Release.Namespace .Values.service.port }}
{{- end }}
{{- end }}

{{/* The ConfigMap's data. What is empty is left out: the service then has its own default. */}}
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

{{/* The secret settings that have no default. */}}
{{- define "kling-relay.requiredSecrets" -}}
databaseUrl signingKeys
{{- end }}

{{/* Where one secret setting is kept: {secret, key, path, optional}, or {} when it is unset. (root, name) */}}
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

{{/* The data of the Secret this chart makes, from values given in the clear: for a trial, not for keeps. */}}
{{- define "kling-relay.secretData" -}}
{{- range $name := splitList " " (include "kling-relay.secretNames" .) }}
{{- $entry := index $.Values.secrets $name }}
{{- if and $entry.value (not $entry.existingSecret) }}
{{ include "kling-relay.settingName" $name }}: {{ $entry.value | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Sources of the projected volume, one for each secret setting, so that each may live in a Secret of its own. (root, component) */}}
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
