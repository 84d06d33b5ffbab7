"""What a pipeline asks of Kubernetes: secrets, config maps, volumes, places to run."""

from kfp import dsl, kubernetes


@dsl.container_component
def print_variables():
    """Prints variables, by brackets that show an empty one."""
    return dsl.ContainerSpec(
        image="alpine", command=["sh", "-c", 'printf "[%s]\\n" "$PASSWORD" "$MODE" "$LEFT_OUT" "$POD_LABEL"']
    )


@dsl.container_component
def print_files():
    """Prints the keys of a secret and of a config map that are mounted."""
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-c", "cat /etc/kfp-secret/password; echo; cat /etc/kfp-settings/mode; echo"],
    )


@dsl.container_component
def keep(word: str):
    """Writes into the volume."""
    return dsl.ContainerSpec(
        image="alpine", command=["sh", "-c", 'echo "$0" > /mnt/kfp-kept/word'], args=[word]
    )


@dsl.container_component
def recall():
    """Reads from the volume."""
    return dsl.ContainerSpec(image="alpine", command=["cat", "/mnt/kfp-kept/word"])


@dsl.pipeline(name="platform")
def platform(secret: str = "test-secret-2"):
    """Each of them in a task of its own."""
    variables = print_variables()
    kubernetes.use_secret_as_env(variables, secret_name=secret, secret_key_to_env={"password": "PASSWORD"})
    kubernetes.use_config_map_as_env(
        variables, config_map_name="settings", config_map_key_to_env={"mode": "MODE"}
    )
    kubernetes.use_secret_as_env(
        variables, secret_name="no-such-secret", secret_key_to_env={"x": "LEFT_OUT"}, optional=True
    )
    kubernetes.add_pod_label(variables, label_key="team", label_value="blue")
    kubernetes.use_field_path_as_env(variables, env_name="POD_LABEL", field_path="metadata.labels['team']")
    kubernetes.add_node_selector(variables, label_key="disk", label_value="ssd")

    files = print_files()
    kubernetes.use_secret_as_volume(files, secret_name=secret, mount_path="/etc/kfp-secret")
    kubernetes.use_config_map_as_volume(files, config_map_name="settings", mount_path="/etc/kfp-settings")

    claim = kubernetes.CreatePVC(
        access_modes=["ReadWriteOnce"], pvc_name_suffix="-kept", size="1Mi", storage_class_name=""
    )
    kept = keep(word="kept")
    kubernetes.mount_pvc(kept, pvc_name=claim.outputs["name"], mount_path="/mnt/kfp-kept")
    recalled = recall().after(kept)
    kubernetes.mount_pvc(recalled, pvc_name=claim.outputs["name"], mount_path="/mnt/kfp-kept")
    kubernetes.DeletePVC(pvc_name=claim.outputs["name"]).after(recalled)
