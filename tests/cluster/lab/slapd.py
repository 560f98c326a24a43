"""A real slapd of a host's own: one database, syncprov, on ldap:// and ldapi://; and mailtwin-directoryd."""

import base64
import json
import signal

from . import proc
from .space import CommandFailed
from .wait import wait_until

BASE = "dc=example,dc=org"
PEOPLE = f"ou=people,{BASE}"
ADMIN = f"cn=admin,{BASE}"
MAILTWIN = f"cn=mailtwin,{BASE}"  # an account that has only the rights it is given
SECRET = "secret"
PLACE = "/srv/store/slapd"
URI = "ldap://127.0.0.1:389"
SCHEMA = ("core", "cosine", "inetorgperson")
# A class that one of two servers may lack.
EXTRA_SCHEMA = """\
dn: cn=extra,cn=schema,cn=config
objectClass: olcSchemaConfig
cn: extra
olcAttributeTypes: ( 1.3.6.1.4.1.99999.1.1 NAME 'extraText' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
olcObjectClasses: ( 1.3.6.1.4.1.99999.2.1 NAME 'extraThing' SUP top AUXILIARY MAY extraText )

"""
CONFIG = """\
dn: cn=config
objectClass: olcGlobal
cn: config
olcLogLevel: none
olcServerID: {number}
olcAuthzRegexp: {{0}}"gidNumber=[0-9]+\\+uidNumber=65534,cn=peercred,cn=external,cn=auth" "{account}"

dn: cn=module{{0}},cn=config
objectClass: olcModuleList
cn: module{{0}}
olcModulePath: /usr/lib/ldap
olcModuleLoad: back_mdb
olcModuleLoad: syncprov

dn: cn=schema,cn=config
objectClass: olcSchemaConfig
cn: schema

{schema}dn: olcDatabase={{0}}config,cn=config
objectClass: olcDatabaseConfig
olcDatabase: {{0}}config
olcRootDN: cn=config
olcRootPW: {secret}

dn: olcDatabase={{1}}mdb,cn=config
objectClass: olcDatabaseConfig
objectClass: olcMdbConfig
olcDatabase: {{1}}mdb
olcSuffix: {base}
olcRootDN: {admin}
olcRootPW: {secret}
olcDbDirectory: {place}/db
olcDbMaxSize: 1073741824
olcDbEnvFlags: nometasync
olcDbIndex: entryUUID eq
olcDbIndex: entryCSN eq
olcDbIndex: uid eq
olcAccess: to attrs=userPassword by anonymous auth by * none
olcAccess: to * by self write by * read

dn: olcOverlay=syncprov,olcDatabase={{1}}mdb,cn=config
objectClass: olcOverlayConfig
objectClass: olcSyncProvConfig
olcOverlay: syncprov
olcSpCheckpoint: 1000 60
olcSpSessionlog: {sessionlog}
"""


def store(**keys):
    """The section of a store of kind ldap."""
    return {"kind": "ldap", "uri": URI, "base": BASE, "bind-dn": ADMIN, "password-file": "/run/lab/ldap-password",
            **keys}


def person(name, **keys):
    """An entry of one account, as LDIF."""
    values = {"objectClass": "inetOrgPerson", "uid": name, "cn": name, "sn": name,
              "mail": f"{name}@example.org", "userPassword": f"pass-{name}", **keys}
    lines = [f"dn: uid={name},{PEOPLE}"]
    for key, value in values.items():
        lines += [f"{key}: {one}" for one in (value if isinstance(value, list) else [value])]
    return "\n".join(lines) + "\n\n"


class Slapd:
    """The directory server of one host and what clients do with it."""

    def __init__(self, host, extra=True, sessionlog=1000, account=ADMIN):
        self.host = host
        self.account = account  # what the account of mailtwin-directoryd is over ldapi
        self.extra = extra
        self.sessionlog = sessionlog
        self.process = None

    # --- life ---

    def install(self):
        """An empty database."""
        host = self.host
        includes = "".join(f"include: file:///etc/ldap/schema/{name}.ldif\n\n" for name in SCHEMA)
        text = CONFIG.format(number=host.number, schema=includes + (EXTRA_SCHEMA if self.extra else ""), base=BASE,
                             admin=ADMIN, account=self.account, secret=SECRET, place=PLACE, sessionlog=self.sessionlog)
        (host.directory / "slapd.ldif").write_text(text)
        (host.directory / "ldap-password").write_text(SECRET + "\n")
        (host.directory / "ldap-password").chmod(0o600)
        host.run("mkdir", "-p", f"{PLACE}/conf", f"{PLACE}/db")
        host.run("slapadd", "-F", f"{PLACE}/conf", "-n", "0", "-l", "/run/lab/slapd.ldif")

    def start(self):
        """Returns when it answers."""
        self.process = self.host.spawn("slapd", "-d", "0", "-F", f"{PLACE}/conf", "-h",
                                       f"ldap://0.0.0.0:389 ldapi://%2frun%2fldapi", log="slapd.log")
        wait_until(self._answers, 20, f"slapd of {self.host.name} does not answer")

    def _answers(self):
        done = self.host.run("ldapwhoami", "-x", "-H", URI, check=False)
        return done.returncode == 0

    def kill9(self):
        pid = self.process.pid
        self.process.kill(signal.SIGKILL)
        wait_until(lambda: not proc.alive(pid), 10, "slapd outlives SIGKILL")

    def stop(self):
        self.process.kill(signal.SIGTERM)
        self.process.wait(20)

    def learn_schema(self):
        """An administrator gives a running server the schema it lacked."""
        self.host.run("ldapadd", "-x", "-H", URI, "-D", "cn=config", "-w", SECRET, stdin=EXTRA_SCHEMA)

    def allow(self, *rules):
        """A running server has these rights and no others (olcAccess)."""
        text = "".join(f"olcAccess: {{{i}}}{rule}\n" for i, rule in enumerate(rules))
        self.host.run("ldapmodify", "-x", "-H", URI, "-D", "cn=config", "-w", SECRET, stdin=(
            f"dn: olcDatabase={{1}}mdb,cn=config\nchangetype: modify\nreplace: olcAccess\n{text}"))

    def replicate(self, provider):
        """From now on it takes what the server at the address has, by itself (syncrepl); None: no longer."""
        source = "" if provider is None else (
            f"olcSyncrepl: rid=1 provider=ldap://{provider}:389 type=refreshAndPersist retry=\"1 +\" searchbase=\"{BASE}\" "
            f"bindmethod=simple binddn=\"{ADMIN}\" credentials={SECRET}\n")
        self.host.run("ldapmodify", "-x", "-H", URI, "-D", "cn=config", "-w", SECRET, stdin=(
            f"dn: olcDatabase={{1}}mdb,cn=config\nchangetype: modify\nreplace: olcSyncrepl\n{source}"))

    def use_tls(self, authority, certificate, key):
        """A running server offers TLS; paths as the host sees them."""
        self.host.run("ldapmodify", "-x", "-H", URI, "-D", "cn=config", "-w", SECRET, stdin=(
            "dn: cn=config\nchangetype: modify\nadd: olcTLSCACertificateFile\n"
            f"olcTLSCACertificateFile: {authority}\n-\nadd: olcTLSCertificateFile\nolcTLSCertificateFile: {certificate}\n"
            f"-\nadd: olcTLSCertificateKeyFile\nolcTLSCertificateKeyFile: {key}\n"))

    def fill(self):
        """The top of the tree."""
        self.add(f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: x\ndc: example\n\n"
                 f"dn: {PEOPLE}\nobjectClass: organizationalUnit\nou: people\n\n")

    def load(self, count, start=0):
        """Many accounts, offline, with all that a server gives an entry."""
        text = "".join(person(f"u{i}") for i in range(start, start + count))
        (self.host.directory / "load.ldif").write_text(text)
        self.host.run("slapadd", "-q", "-F", f"{PLACE}/conf", "-n", "1", "-w", "-l", "/run/lab/load.ldif", within=120)

    # --- clients ---

    def _client(self, program, *arguments, **options):
        return self.host.run(program, "-x", "-H", URI, "-D", ADMIN, "-w", SECRET, *arguments, **options)

    def add(self, ldif, relax=False, **options):
        """relax: under the Relax control, with ids and times of its own."""
        control = ["-e", "!1.3.6.1.4.1.4203.666.5.12"] if relax else []
        return self._client("ldapadd", *control, stdin=ldif, **options)

    def modify(self, ldif, **options):
        return self._client("ldapmodify", stdin=ldif, **options)

    def modify_as(self, name, password, ldif):
        """By an account itself."""
        self.host.run("ldapmodify", "-x", "-H", URI, "-D", f"uid={name},{PEOPLE}", "-w", password, stdin=ldif)

    def rename(self, dn, rdn, parent=None, keep=False):
        above = ["-s", parent] if parent else []
        self._client("ldapmodrdn", *([] if keep else ["-r"]), *above, dn, rdn)

    def delete(self, *dns):
        self._client("ldapdelete", *dns)

    def replace(self, dn, name, value):
        self.modify(f"dn: {dn}\nchangetype: modify\nreplace: {name}\n{name}: {value}\n")

    def login(self, name, password):
        """Does the account get in with the password?"""
        done = self.host.run("ldapwhoami", "-x", "-H", URI, "-D", f"uid={name},{PEOPLE}", "-w", password, check=False)
        return done.returncode == 0

    def entries(self, filter="(objectClass=*)"):
        """{dn: {attribute: sorted values}} with entryUUID and times, without what is one server's own."""
        done = self._client("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", BASE, filter, "*", "+", check=False)
        own = {"entryCSN", "contextCSN", "entryDN", "subschemaSubentry", "structuralObjectClass", "hasSubordinates"}
        found = {}
        for record in done.stdout.strip().split("\n\n"):
            values = {}
            for line in filter_lines(record):
                name, _, value = line.partition(":")
                value = base64.b64decode(value[1:]).decode() if value.startswith(":") else value.strip()
                if name not in own:
                    values.setdefault(name, []).append(value.strip())
            if "dn" in values:
                found[values.pop("dn")[0]] = {name: sorted(some) for name, some in values.items()}
        return found

    def uuids(self):
        return {values["entryUUID"][0]: dn for dn, values in self.entries().items()}


def filter_lines(record):
    return [line for line in record.splitlines() if line and not line.startswith("#")]


class Directoryd:
    """mailtwin-directoryd of one host."""

    def __init__(self, host):
        self.host = host
        self.process = None

    def start(self):
        host = self.host
        self.process = host.spawn(f"{host.lab.build_inside}/mailtwin-directoryd", "--config", host.lab.config_inside,
                                  "--node", host.name, log="directoryd.log",
                                  env={**host.lab.environment(host), "NOTIFY_SOCKET": ""})
        wait_until(self._answers, 20, lambda: f"{host.name}: no answer from directoryd:\n{self.log()}", every=0.05)

    def _answers(self):
        if not self.process.running():
            raise CommandFailed(f"{self.host.name}: directoryd ended with {self.process.wait(1)}:\n{self.log()}")
        return self.status() is not None

    def stop(self):
        self.process.kill(signal.SIGTERM)
        status = self.process.wait(40)
        if status != 0:
            raise CommandFailed(f"{self.host.name}: directoryd ended with {status}:\n{self.log()}")

    def kill9(self):
        pid = self.process.pid
        self.process.kill(signal.SIGKILL)
        wait_until(lambda: not proc.alive(pid), 10, "directoryd outlives SIGKILL")
        self.process.wait(10)

    def status(self):
        """Of its one store; None while it does not answer."""
        done = self.host.mailtwin("directory", "status", "--json", check=False)
        try:
            return json.loads(done.stdout)["stores"][0]
        except (ValueError, KeyError):
            return None

    def wait(self, condition, within, what):
        seen = {}

        def look():
            seen["status"] = self.status() or {}
            return seen["status"] if condition(seen["status"]) else None
        return wait_until(look, within, lambda: f"{self.host.name}: {what}: {seen}\n{self.log()}", every=0.05)

    def wait_mode(self, mode, within=30):
        return self.wait(lambda status: status.get("mode") == mode and status["state"] == "live", within, mode)

    def log(self):
        return self.host.log_text("directoryd.log")[-4000:]

    def events(self, name):
        return [line for line in self.host.log_text("directoryd.log").splitlines() if f"event={name}" in line]
