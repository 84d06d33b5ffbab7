{{- define "kfbridge.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "kfbridge.account" -}}
{{- default (include "kfbridge.name" .) .Values.serviceAccount.name }}
{{- end }}

{{- define "kfbridge.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ end }}
{{- end }}

{{- define "kfbridge.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "kfbridge.migrationSelector" -}}
app.kubernetes.io/part-of: airflow-kfp-bridge
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: migration
{{- end }}

{{/* Where any pod may go: names are looked up, the rest is the values'. */}}
{{- define "kfbridge.egress" -}}
- to:
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: kube-system}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- with .Values.networkPolicy.egress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "kfbridge.labels" -}}
{{ include "kfbridge.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: airflow-kfp-bridge
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* The settings with what the chart knows better: where the token lies, and what may be watched. */}}
{{- define "kfbridge.settings" -}}
{{- $settings := deepCopy .Values.settings }}
{{- $backends := list }}
{{- range .Values.settings.backends }}
{{- $backend := deepCopy . }}
{{- if and $.Values.kfpToken.enabled (not (hasKey $backend "token_file")) }}
{{- $_ := set $backend "token_file" "/var/run/secrets/kubeflow/pipelines/token" }}
{{- end }}
{{- if and $.Values.watch.enabled (not (hasKey $backend "kubernetes")) }}
{{- $_ := set $backend "kubernetes" (dict "enabled" true "namespaces" $.Values.watch.namespaces) }}
{{- end }}
{{- $backends = append $backends $backend }}
{{- end }}
{{- $_ := set $settings "backends" $backends }}
{{- toToml $settings }}
{{- end }}

{{- define "kfbridge.asksKubernetes" -}}
{{- if or .Values.watch.enabled (include "kfbridge.reviewsTokens" .) }}true{{ end }}
{{- end }}

{{/* Who configures it in the settings alone needs the rights too. */}}
{{- define "kfbridge.reviewsTokens" -}}
{{- if or .Values.tokenReview.enabled (hasKey .Values.settings "token_review") }}true{{ end }}
{{- end }}

{{- define "kfbridge.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "kfbridge.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "kfbridge.environment" -}}
- name: KFBRIDGE_CONFIG
  value: /etc/kfbridge/kfbridge.toml
# The names of its Service and its ingress, besides those of `settings.public_url`.
- name: KFBRIDGE_ALLOWED_HOSTS
  value: {{ include "kfbridge.hosts" . | quote }}
- name: KFBRIDGE_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.secret.name }}
      key: database-url
- name: KFBRIDGE_API_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .Values.secret.name }}
      key: api-token
{{- with .Values.oidc.secretName }}
- name: KFBRIDGE_OIDC_CLIENT_ID
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: client-id
- name: KFBRIDGE_OIDC_CLIENT_SECRET
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: client-secret
      optional: true
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "kfbridge.hosts" -}}
{{- $name := include "kfbridge.name" . }}
{{- $names := list $name (printf "%s.%s" $name .Release.Namespace) (printf "%s.%s.svc" $name .Release.Namespace) }}
{{- range .Values.allowedHosts }}{{ $names = append $names . }}{{ end }}
{{- if .Values.ingress.enabled }}{{ $names = append $names .Values.ingress.host }}{{ end }}
{{- join "," (append $names (printf "%s.%s.svc.cluster.local" $name .Release.Namespace)) }}
{{- end }}

{{- define "kfbridge.mounts" -}}
- name: config
  mountPath: /etc/kfbridge
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- if .Values.kfpToken.enabled }}
- name: kfp-token
  mountPath: /var/run/secrets/kubeflow/pipelines
  readOnly: true
{{- end }}
{{- if include "kfbridge.asksKubernetes" . }}
- name: kubernetes-token
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "kfbridge.volumes" -}}
- name: config
  configMap:
    name: {{ include "kfbridge.name" . }}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
{{- if .Values.kfpToken.enabled }}
- name: kfp-token
  projected:
    sources:
      - serviceAccountToken:
          path: token
          audience: {{ .Values.kfpToken.audience }}
          expirationSeconds: {{ .Values.kfpToken.expirationSeconds }}
{{- end }}
{{- if include "kfbridge.asksKubernetes" . }}
- name: kubernetes-token
  projected:
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3600
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What service and worker have in common. Takes a list: the root, the component, its values, its command. */}}
{{- define "kfbridge.pod" -}}
{{- $root := index . 0 }}
{{- $component := index . 1 }}
{{- $own := index . 2 }}
{{- $switch := index . 3 }}
metadata:
  labels:
    {{- include "kfbridge.selector" $root | nindent 4 }}
    app.kubernetes.io/component: {{ $component }}
    {{- with $root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # A changed setting is read at the start alone.
    checksum/config: {{ include "kfbridge.settings" $root | sha256sum }}
    {{- with $root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "kfbridge.account" $root }}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 45
  securityContext:
    {{- include "kfbridge.podSecurity" $root | nindent 4 }}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "kfbridge.selector" $root | nindent 10 }}
          app.kubernetes.io/component: {{ $component }}
  containers:
    - name: {{ $component }}
      image: {{ include "kfbridge.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      command: [kfbridge, serve, {{ $switch }}]
      env:
        - name: KFBRIDGE_HOST
          value: 0.0.0.0
        - name: KFBRIDGE_PORT
          value: "8700"
        - name: KFBRIDGE_DRAIN_SECONDS
          value: {{ eq $component "service" | ternary "15" "0" | quote }}
        {{- include "kfbridge.environment" $root | nindent 8 }}
      ports:
        - name: http
          containerPort: 8700
      startupProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 2
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 5
        timeoutSeconds: 5
      resources:
        {{- toYaml $own.resources | nindent 8 }}
      securityContext:
        {{- include "kfbridge.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        {{- include "kfbridge.mounts" $root | nindent 8 }}
  volumes:
    {{- include "kfbridge.volumes" $root | nindent 4 }}
{{- end }}
