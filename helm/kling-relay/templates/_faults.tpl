{{/*
Faults that the schema cannot express because they depend on two values; all of them are reported in one message.
*/}}

{{- define "kling-relay.faults" -}}
{{- $faults := list }}
{{- range $name := splitList " " (include "kling-relay.requiredSecrets" .) }}
{{- if not (include "kling-relay.secretSource" (dict "root" $ "name" $name) | fromYaml) }}
{{- $faults = append $faults (printf "%s has no source: set secrets.existingSecret, secrets.%s.existingSecret or, for a trial, secrets.%s.value" (include "kling-relay.settingName" $name) $name $name) }}
{{- end }}
{{- end }}
{{- range $name := splitList " " (include "kling-relay.secretNames" .) }}
{{- $entry := index $.Values.secrets $name }}
{{- if and $entry.value $entry.existingSecret }}
{{- $faults = append $faults (printf "secrets.%s has both value and existingSecret: keep one" $name) }}
{{- end }}
{{- end }}
{{- if not .Values.settings.providerUrl }}
{{- $faults = append $faults "settings.providerUrl is empty: api and worker would each have a sandbox of their own; set it to the provider, or to a `kling-relay sandbox` that all pods can reach" }}
{{- end }}
{{- if and .Values.settings.providerUrl (not .Values.settings.publicUrl) (not .Values.callbacks.host) }}
{{- $faults = append $faults "settings.providerUrl is set, but the provider cannot call back: set callbacks.host (or settings.publicUrl)" }}
{{- end }}
{{- $providerKey := include "kling-relay.secretSource" (dict "root" . "name" "providerKey") | fromYaml }}
{{- if and .Values.settings.providerUrl (not $providerKey) }}
{{- $faults = append $faults "settings.providerUrl is set, but RELAY_PROVIDER_KEY has no source: set secrets.existingSecret or secrets.providerKey" }}
{{- end }}
{{- if and $providerKey (not $providerKey.optional) (not .Values.settings.providerUrl) }}
{{- $faults = append $faults "secrets.providerKey is set without settings.providerUrl: the key would not be used" }}
{{- end }}
{{- if and .Values.migrations.restored (not .Values.migrations.enabled) }}
{{- $faults = append $faults "migrations.restored without migrations.enabled: there is no Job to run `migrate --restored`" }}
{{- end }}
{{- if eq (int .Values.settings.port) (int .Values.settings.metricsPort) }}
{{- $faults = append $faults "settings.port and settings.metricsPort must differ" }}
{{- end }}
{{- if and (or .Values.callbacks.ingress.enabled .Values.callbacks.httpRoute.enabled) (not .Values.callbacks.host) }}
{{- $faults = append $faults "callbacks.ingress or callbacks.httpRoute is enabled without callbacks.host" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}
{{- $faults = append $faults "ingress.enabled needs ingress.host: an Ingress without a host would answer for every name" }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- $faults = append $faults "httpRoute.enabled needs httpRoute.parentRefs, the Gateway it attaches to" }}
{{- end }}
{{- if and .Values.callbacks.httpRoute.enabled (not (.Values.callbacks.httpRoute.parentRefs | default .Values.httpRoute.parentRefs)) }}
{{- $faults = append $faults "callbacks.httpRoute.enabled needs callbacks.httpRoute.parentRefs (or httpRoute.parentRefs)" }}
{{- end }}
{{- with .Values.api.autoscaling }}
{{- if and .enabled (lt (int .maxReplicas) (int .minReplicas)) }}
{{- $faults = append $faults "api.autoscaling.maxReplicas is below minReplicas" }}
{{- end }}
{{- if and .enabled (not .targetCPUUtilizationPercentage) (not .targetMemoryUtilizationPercentage) (not .metrics) }}
{{- $faults = append $faults "api.autoscaling.enabled needs a target: targetCPUUtilizationPercentage, targetMemoryUtilizationPercentage or metrics" }}
{{- end }}
{{- end }}
{{- with .Values.worker.keda }}
{{- if and .enabled (lt (int .maxReplicas) (int .minReplicas)) }}
{{- $faults = append $faults "worker.keda.maxReplicas is below minReplicas" }}
{{- end }}
{{- if and .enabled (eq .trigger "prometheus") (not .prometheus.serverAddress) }}
{{- $faults = append $faults "worker.keda.trigger is prometheus, so worker.keda.prometheus.serverAddress is required" }}
{{- end }}
{{- end }}
{{- if $faults }}
{{- fail (printf "\n\nkling-relay cannot be installed with these values:\n  - %s\n" (join "\n  - " $faults)) }}
{{- end }}
{{- end }}
