"""Reads a Compose file: checks it, and prints its services for a shell.

    python compose.py check FILE SHUTDOWN
    python compose.py read FILE

check takes how long a node's shutdown may take. read prints, for each SERVICE, the arrays
SERVICE_command, SERVICE_environment (NAME=VALUE) and SERVICE_health, and the service names in
the order in which Compose starts them.
"""

import os
import re
import shlex
import sys
from pathlib import Path

import yaml

# The keys of a service that may be used. A key that Compose knows can be added.
KEYS = {
    "build", "cap_drop", "command", "depends_on", "environment", "healthcheck", "image", "logging", "mem_limit",
    "networks", "ports", "read_only", "restart", "security_opt", "stop_grace_period", "tmpfs", "ulimits", "user", "volumes",
}  # fmt: skip

VARIABLE = re.compile(r"\$(?:(\$)|\{([A-Z][A-Z0-9_]*)(?::([-?])([^}]*))?\})")


def interpolate(value):
    """Replaces variables as Compose does: ${NAME}, ${NAME:-default}, ${NAME:?error} and $$."""
    if isinstance(value, dict):
        return {k: interpolate(v) for k, v in value.items()}
    if isinstance(value, list):
        return [interpolate(v) for v in value]
    if not isinstance(value, str):
        return value

    def replace(match):
        dollar, name, operator, word = match.groups()
        if dollar:
            return "$"
        got = os.environ.get(name, "")
        if not got and operator == "?":
            sys.exit(f"required variable {name} is missing a value: {word}")
        return got or (word if operator == "-" else "")

    left = VARIABLE.sub("", value)
    require("$" not in left, f"{value!r} has a $ that begins no variable")
    return VARIABLE.sub(replace, value)


def require(condition, sentence):
    if not condition:
        sys.exit(sentence)


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(s|m)", str(text)).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


def size(text):
    number, unit = re.fullmatch(r"(\d+)(k|m|g)b?", str(text).lower()).groups()
    return int(number) << {"k": 10, "m": 20, "g": 30}[unit]


def option(command, name):
    """Returns the argument after the flag --name."""
    require(f"--{name}" in command, f"valkey has no --{name}")
    return command[command.index(f"--{name}") + 1]


def check(file, document, shutdown):
    extra = {k for k in document if k not in {"name", "services", "networks", "volumes"} and not k.startswith("x-")}
    require(not extra, f"unknown top-level keys: {extra}")
    services = document["services"]
    for name, service in services.items():
        unknown = service.keys() - KEYS
        require(not unknown, f"{name}: unknown keys: {unknown}")
        require(service["restart"] == "unless-stopped", f"{name}: does not restart")
        require(re.search(r":[^/]*\d\.\d", service["image"]), f"{name}: {service['image']} is not pinned")
        require(seconds(service["stop_grace_period"]) > 5, f"{name}: too little time to stop")
        require(service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, f"{name}: no health check")
        require(service["logging"]["options"]["max-size"], f"{name}: its log grows without a limit")
        for other, how in service.get("depends_on", {}).items():
            require(other in services, f"{name}: depends on {other}, which is missing")
            require(how == {"condition": "service_healthy"}, f"{name}: does not wait until {other} is healthy")
        for network in service["networks"]:
            require(network in document["networks"], f"{name}: no network {network}")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            known = (file.parent / source).is_file() if source.startswith(".") else source in document["volumes"]
            require(known, f"{name}: no volume {source}")
        if "build" in service:
            require((file.parent / service["build"] / "Dockerfile").is_file(), f"{name}: no Dockerfile")
        published = [port.rpartition(":")[2] for port in service.get("ports", [])]
        require(published == (["8080"] if name == "proxy" else []), f"{name}: publishes {published}")
    nodes = [s for s in services.values() if "notiflux:" in s["image"]]
    require(len(nodes) == 2, f"{len(nodes)} nodes")
    for node in nodes:
        require(seconds(node["stop_grace_period"]) > seconds(shutdown), "a node is killed during its shutdown")
    valkey = services["valkey"]
    command = valkey["command"]
    require(all(isinstance(word, str) for word in command), f"valkey: {command} has a word that is not a string")
    require(option(command, "appendonly") == "yes", "valkey keeps nothing on disk")
    require(option(command, "maxmemory-policy") == "noeviction", "valkey drops messages")
    require(size(valkey["mem_limit"]) >= 2 * size(option(command, "maxmemory")), "valkey has no memory to rewrite its file")
    require(any(v.endswith(":/data") for v in valkey["volumes"]), "valkey has no volume for its data")
    require("front" not in valkey["networks"] and "store" not in services["proxy"]["networks"], "the proxy can reach valkey")


def ordered(services):
    """Returns the names so that each comes after the ones it depends on."""
    order = []
    while len(order) < len(services):
        ready = [n for n, s in services.items() if n not in order and all(d in order for d in s.get("depends_on", {}))]
        require(ready, "the services depend on each other in a circle")
        order += ready
    return order


def read(document):
    services = document["services"]
    arrays = {"services": ordered(services)}
    for name, service in services.items():
        arrays[f"{name}_command"] = service.get("command", [])
        arrays[f"{name}_environment"] = [f"{k}={v}" for k, v in service.get("environment", {}).items()]
        kind, *test = service["healthcheck"]["test"]
        arrays[f"{name}_health"] = ["sh", "-c", *test] if kind == "CMD-SHELL" else test
    for name, words in arrays.items():
        print(f"{name}=({' '.join(map(shlex.quote, words))})")


def main():
    action, file, *rest = sys.argv[1:]
    document = interpolate(yaml.safe_load(Path(file).read_text()))
    if action == "check":
        check(Path(file), document, *rest)
    else:
        read(document)


main()
