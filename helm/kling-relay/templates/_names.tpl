{{/*
Names and labels. A label has at most 63 characters, so a name leaves room for the longest suffix: "-migrate-" and ten digits.
*/}}

{{- define "kling-relay.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 44 | trimSuffix "-" }}
{{- end }}

{{- define "kling-relay.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 44 | trimSuffix "-" }}
{{- else if contains (include "kling-relay.name" .) .Release.Name -}}
{{- .Release.Name | trunc 44 | trimSuffix "-" }}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "kling-relay.name" .) | trunc 44 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Selector labels: they never change within a release and differ between releases. (root, component) */}}
{{- define "kling-relay.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kling-relay.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels of an object. (root, component, labels) */}}
{{- define "kling-relay.labels" -}}
{{- $own := include "kling-relay.selectorLabels" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/part-of" "kling-relay" }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .root.Release.Service }}
{{- $_ := set $own "app.kubernetes.io/version" (.root.Values.image.tag | default .root.Chart.AppVersion | replace "+" "_" | trunc 63) }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- tpl (toYaml (merge $own (.labels | default dict) .root.Values.commonLabels)) .root }}
{{- end }}

{{/* "annotations: …", or nothing if there are none. (root, annotations) */}}
{{- define "kling-relay.annotations" -}}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- tpl (toYaml .) $.root | nindent 2 }}
{{- end }}
{{- end }}

{{/* The metadata of every object. (root, name, component, labels, annotations, namespace) */}}
{{- define "kling-relay.metadata" -}}
name: {{ .name }}
namespace: {{ .namespace | default .root.Release.Namespace }}
labels:
  {{- include "kling-relay.labels" . | nindent 2 }}
{{- with include "kling-relay.annotations" . | trim }}
{{ . }}
{{- end }}
{{- end }}

{{- define "kling-relay.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "kling-relay.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* registry/repository:tag@digest; with a digest the tag is only informative. */}}
{{- define "kling-relay.image" -}}
{{- $registry := .Values.image.registry | default (.Values.global).imageRegistry }}
{{- with $registry }}{{ . }}/{{ end }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}
