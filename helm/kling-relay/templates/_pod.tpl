{{/*
The pod template. The api, the worker and the migration Job differ only in arguments, probes, and in waiting for the schema.
(root, component, values, args, waits)
*/}}

{{/* What all containers share: restricted, read-only, settings from one ConfigMap. (root, component) */}}
{{- define "kling-relay.container" -}}
image: {{ include "kling-relay.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- toYaml .root.Values.containerSecurityContext | nindent 2 }}
env:
  - name: RELAY_SECRETS_DIR
    value: {{ include "kling-relay.secretsDir" .root }}
  {{- with concat .root.Values.extraEnv (.values.extraEnv | default list) }}
  {{- tpl (toYaml .) $.root | nindent 2 }}
  {{- end }}
envFrom:
  - configMapRef:
      name: {{ include "kling-relay.fullname" .root }}
  {{- with .root.Values.extraEnvFrom }}
  {{- tpl (toYaml .) $.root | nindent 2 }}
  {{- end }}
volumeMounts:
  - name: secrets
    mountPath: {{ include "kling-relay.secretsDir" .root }}
    readOnly: true
  - name: tmp
    mountPath: /tmp
  {{- with .root.Values.extraVolumeMounts }}
  {{- tpl (toYaml .) $.root | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "kling-relay.topologySpread" -}}
{{- range .root.Values.topologySpreadConstraints }}
{{- $own := dict "labelSelector" (dict "matchLabels" (include "kling-relay.selectorLabels" $ | fromYaml)) }}
- {{ toYaml (hasKey . "labelSelector" | ternary . (merge $own .)) | nindent 2 | trim }}
{{- end }}
{{- end }}

{{- define "kling-relay.pod" -}}
{{- $root := .root }}
{{- $values := .values }}
{{- $selector := include "kling-relay.selectorLabels" . | fromYaml }}
metadata:
  annotations:
    {{- /* A changed setting changes the template, so the pods restart. */}}
    checksum/settings: {{ include "kling-relay.environment" $root | sha256sum }}
    {{- with include "kling-relay.secretData" $root }}
    checksum/secrets: {{ sha256sum . }}
    {{- end }}
    kubectl.kubernetes.io/default-container: {{ .component }}
    {{- with merge (dict) ($values.podAnnotations | default dict) $root.Values.podAnnotations $root.Values.commonAnnotations }}
    {{- tpl (toYaml .) $root | nindent 4 }}
    {{- end }}
  labels:
    {{- /* No chart version here: a new chart with the same settings must not restart the pods. */}}
    {{- tpl (toYaml (merge $selector ($values.podLabels | default dict) $root.Values.podLabels $root.Values.commonLabels)) $root | nindent 4 }}
spec:
  serviceAccountName: {{ include "kling-relay.serviceAccountName" $root }}
  automountServiceAccountToken: false
  {{- /* Otherwise a Service named "relay" would add RELAY_PORT=tcp://… to the environment. */}}
  enableServiceLinks: false
  {{- with concat $root.Values.image.pullSecrets ((($root.Values.global).imagePullSecrets) | default list) }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ kindIs "map" . | ternary (get (kindIs "map" . | ternary . dict) "name") . }}
    {{- end }}
  {{- end }}
  securityContext:
    {{- toYaml $root.Values.podSecurityContext | nindent 4 }}
  {{- with $values.terminationGracePeriodSeconds }}
  terminationGracePeriodSeconds: {{ . }}
  {{- end }}
  {{- with $values.priorityClassName | default $root.Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $root.Values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector | default $root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations | default $root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity | default $root.Values.affinity }}
  affinity:
    {{- tpl (toYaml .) $root | nindent 4 }}
  {{- end }}
  {{- if .waits }}
  {{- with include "kling-relay.topologySpread" . | trim }}
  topologySpreadConstraints:
    {{- . | nindent 4 }}
  {{- end }}
  initContainers:
    - name: schema
      args: [migrate, --wait]
      {{- include "kling-relay.container" (dict "root" $root "values" dict) | nindent 6 }}
      resources:
        {{- toYaml $root.Values.migrations.resources | nindent 8 }}
    {{- with $root.Values.extraInitContainers }}
    {{- tpl (toYaml .) $root | nindent 4 }}
    {{- end }}
  {{- else }}
  restartPolicy: Never
  {{- end }}
  containers:
    - name: {{ .component }}
      args:
        {{- toYaml (concat .args ($values.extraArgs | default list)) | nindent 8 }}
      {{- include "kling-relay.container" . | nindent 6 }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      {{- if .waits }}
      ports:
        {{- if eq .component "api" }}
        - name: http
          containerPort: {{ $root.Values.settings.port }}
          protocol: TCP
        {{- end }}
        - name: metrics
          containerPort: {{ $root.Values.settings.metricsPort }}
          protocol: TCP
      {{- range $probe, $path := dict "startup" "/livez" "liveness" "/livez" "readiness" "/readyz" }}
      {{- with index $values.probes $probe }}
      {{ $probe }}Probe:
        {{- toYaml (merge (dict "httpGet" (dict "path" $path "port" (eq $.component "api" | ternary "http" "metrics"))) .) | nindent 8 }}
      {{- end }}
      {{- end }}
      {{- end }}
    {{- with $root.Values.extraContainers }}
    {{- if $.waits }}
    {{- tpl (toYaml .) $root | nindent 4 }}
    {{- end }}
    {{- end }}
  volumes:
    - name: secrets
      projected:
        defaultMode: 0440
        sources:
          {{- include "kling-relay.secretSources" . | trim | nindent 10 }}
    - name: tmp
      emptyDir:
        sizeLimit: {{ $root.Values.tmpSizeLimit }}
    {{- with $root.Values.extraVolumes }}
    {{- tpl (toYaml .) $root | nindent 4 }}
    {{- end }}
{{- end }}
