"""mailtwin's configuration and certificates for a lab."""

import re
import shutil

from .host import STATE

PORT = 7411
PKI = "/run/lab/pki"


def default_stores(place, limit="100%"):
    """A store of each kind below place. limit: of mass changes, which a test's load is by nature."""
    return {"mail": {"kind": "maildir", "path": f"{place}/vmail", "mass-delete-limit": limit},
            "files": {"kind": "files", "path": f"{place}/files", "mass-delete-limit": limit}}


def _value(value):
    """Words and numbers stand bare, everything else is quoted."""
    if isinstance(value, (list, tuple)):
        return "{ " + ", ".join(f'"{one}"' for one in value) + " }"
    text = str(value)
    return text if re.fullmatch(r"[a-z]+|\d+", text) else f'"{text}"'


def _section(head, keys):
    body = "".join(f"  {key} = {_value(value)}\n" for key, value in keys.items())
    return f"{head} {{\n{body}}}\n"


def text(hosts, nodes, stores, settings):
    """The one file for every node."""
    top = {"cluster": "lab", "state-dir": STATE, "run-dir": "/run/mailtwin", "user": "nobody", **settings}
    lines = [f'{key} = "{value}"\n' for key, value in top.items()]
    for host in hosts:
        keys = {"address": host.address, "port": PORT, **nodes.get(host.name, {})}
        lines.append(_section(f'node "{host.name}"', keys))
    lines.append(_section("tls", {"authority": f"{PKI}/ca.pem", "certificate": f"{PKI}/node.pem",
                                  "key": f"{PKI}/node.key"}))
    lines += [_section(f'store "{name}"', keys) for name, keys in stores.items()]
    return "".join(lines)


def follows_other(conf, name, primary):
    """Has node `name` a follow = key that names another node than primary?"""
    section = re.search(rf'node "{name}" \{{(.*?)\}}', conf, re.S).group(1)
    follow = re.search(r'follow = "?([\w-]+)', section)
    return follow is not None and follow.group(1) != primary


def certificates(hosts, env=None):
    """As an administrator does it: a new authority on the first of the hosts, there a certificate for each,
    carried to them by hand. hosts: those that get papers of this authority."""
    issuer = hosts[0]
    issuer.mailtwin("pki", "--dir", PKI, "init", env=env or {})
    for host in hosts:
        issuer.mailtwin("pki", "--dir", PKI, "node", host.name, env=env or {})
        papers = host.directory / "pki"
        papers.mkdir(exist_ok=True)
        carry = {"ca.pem": "ca.pem", f"{host.name}.pem": "node.pem", f"{host.name}.key": "node.key"}
        for source, target in carry.items():
            if issuer is not host or source != target:
                shutil.copy2(issuer.directory / "pki" / source, papers / target)
