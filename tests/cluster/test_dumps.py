"""Dump stores: what a program can only copy itself is on the standby as versions, and back in its program there."""

import json

import pytest

from lab.host import STORE
from lab.postgres import SOCKETS, Dumpd, Postgres
from lab.wait import wait_until

ROSTER = f"{STORE}/roster.db"
MAIL = {"kind": "maildir", "path": f"{STORE}/vmail"}
SQLITE = {"kind": "dump", "command": f"sqlite3 -cmd '.timeout 10000' {ROSTER} .dump", "every": "1s", "versions": 3,
          "restore": f"sh -ec 'rm -f {ROSTER}.new; sqlite3 {ROSTER}.new; mv {ROSTER}.new {ROSTER}'"}
POSTGRES = {"kind": "dump", "command": f"pg_dump -h {SOCKETS} -Fc web", "user": "postgres", "every": "1h",
            "restore": f"pg_restore -h {SOCKETS} --clean --if-exists -d web"}


def start(make_lab, **stores):
    """A pair; mx1 is the primary. No dumpd runs yet."""
    lab = make_lab(stores={"mail": MAIL, **stores})
    lab.start(dovecot=False)
    for host in lab.hosts.values():
        host.dumpd = Dumpd(host)
    return lab


def roster(host, text=None):
    """The names in the database; text: SQL to be run before."""
    return host.run("sqlite3", "-cmd", ".timeout 10000", ROSTER, *([text] if text else []), "select name from people order by name").stdout.split()


def versions(host, store):
    return json.loads(host.mailtwin("dump", "list", store, "--json").stdout)["stores"][0]["versions"]


def test_tables_made_before_the_crash_are_in_the_standbys_own_postgresql(make_lab):
    lab = start(make_lab, webdb=POSTGRES)
    primary, standby = lab["mx1"], lab["mx2"]
    for host in (primary, standby):
        host.postgres = Postgres(host)
        host.postgres.create()
    standby.postgres.sql("create table people (name text); insert into people values ('stale')")
    primary.postgres.sql("create table people (name text, pic bytea);"
                         "insert into people select 'user' || n, sha512(n::text::bytea) from generate_series(1, 5000) n")
    primary.dumpd.start()
    primary.dumpd.wait_event("DUMP_STORED")
    primary.postgres.sql("insert into people values ('last')")
    assert "stored" in primary.mailtwin("dump", "run", "webdb").stdout
    wanted = primary.postgres.sql("select count(*), md5(string_agg(name || coalesce(pic::text, ''), ',' order by name)) from people")
    lab.level(primary)
    assert [one["version"] for one in versions(standby, "webdb")] == [one["version"] for one in versions(primary, "webdb")]
    primary.halt()
    said = standby.mailtwin("promote", "--force").stdout
    assert "restored" in said, said
    assert standby.postgres.sql("select count(*), md5(string_agg(name || coalesce(pic::text, ''), ',' order by name)) from people") == wanted
    standby.postgres.sql("insert into people values ('new')")
    standby.mailtwin("promote")  # once an epoch: what came since stays
    assert standby.postgres.sql("select count(*) from people") == ["5002"]
    standby.dumpd.start()
    standby.dumpd.wait_event("DUMP_STORED")


def test_a_planned_switch_takes_the_newest_data_along_and_back(make_lab):
    lab = start(make_lab, roster={**SQLITE, "every": "1h"})
    one, other = lab["mx1"], lab["mx2"]
    names = []
    roster(one, "create table people (name text)")
    for old, new in ((one, other), (other, one), (one, other)):
        names.append(f"at-{old.name}-{len(names)}")
        assert roster(old, f"insert into people values ('{names[-1]}')") == sorted(names)
        old.mailtwin("demote")
        new.mailtwin("promote")
        new.daemon.wait_peer(old.name, "connected")
        assert roster(new) == sorted(names)
    lab.level(other)
    lab.same(other)


def test_the_same_bytes_are_stored_once_and_old_versions_go(make_lab):
    lab = start(make_lab, roster=SQLITE)
    primary, standby = lab["mx1"], lab["mx2"]
    roster(primary, "create table people (name text)")
    primary.dumpd.start()
    wait_until(lambda: "outcome=unchanged" in primary.dumpd.log(), 30, primary.dumpd.log)
    assert len(versions(primary, "roster")) == 1
    for name in ("ann", "bob", "cid", "dan"):
        roster(primary, f"insert into people values ('{name}')")
        newest = versions(primary, "roster")[0]["version"]
        wait_until(lambda before=newest: versions(primary, "roster")[0]["version"] != before, 30, primary.dumpd.log)
    primary.dumpd.stop()
    assert len(versions(primary, "roster")) == 3
    lab.level(primary)
    lab.same(primary)
    assert versions(standby, "roster") == versions(primary, "roster")


def test_a_dump_that_fails_is_told_and_leaves_the_versions_as_they_are(make_lab):
    failing = {**SQLITE, "command": f"sh -c 'sqlite3 {ROSTER} .dump; test ! -e {STORE}/broken || {{ echo no luck >&2; exit 5; }}'"}
    lab = start(make_lab, roster=failing)
    primary = lab["mx1"]
    roster(primary, "create table people (name text)")
    primary.mailtwin("dump", "run", "roster")
    before = versions(primary, "roster")
    primary.path(f"{STORE}/broken").write_text("")
    roster(primary, "insert into people values ('ann')")
    primary.dumpd.start()
    primary.dumpd.wait_event("DUMP_FAILED")
    told = primary.dumpd.events("DUMP_FAILED")[0]
    assert "no luck" in told and "status 5" in told
    assert versions(primary, "roster") == before
    assert "the last dump failed: sh ended with status 5: no luck" in primary.mailtwin("status").stdout
    assert not list(primary.path("/srv/state/spool/roster").glob(".tmp-*"))
    refused = primary.mailtwin("demote", check=False)
    assert refused.returncode == 1 and "--no-dump" in refused.stderr
    assert primary.daemon.status()["role"] == "primary"


def test_no_dump_takes_the_place_of_one_that_was_not_restored(make_lab):
    """The restore fails on the new primary: its empty database must not become the newest version."""
    lab = start(make_lab, roster={**SQLITE, "restore": f"sh -c 'test -e {STORE}/ready && sqlite3 {ROSTER}'"})
    primary, standby = lab["mx1"], lab["mx2"]
    roster(primary, "create table people (name text); insert into people values ('ann')")
    primary.mailtwin("dump", "run", "roster")
    lab.level(primary)
    primary.halt()
    done = standby.mailtwin("promote", "--force", check=False)
    assert done.returncode == 4 and "FAILED" in done.stdout, done
    before = versions(standby, "roster")
    standby.dumpd.start()
    standby.dumpd.wait_event("DUMP_HELD")
    assert standby.mailtwin("dump", "run", "roster", check=False).returncode == 3
    assert versions(standby, "roster") == before
    standby.path(f"{STORE}/ready").write_text("")
    standby.mailtwin("promote")
    assert roster(standby) == ["ann"]
    standby.mailtwin("dump", "run", "roster")


def test_a_full_disk_fails_the_dump_alone(make_lab):
    lab = start(make_lab, roster=SQLITE, big={**SQLITE, "command": "head -c 40M /dev/urandom", "every": "1h", "restore": "true"})
    primary = lab["mx1"]
    roster(primary, "create table people (name text)")
    primary.fill_disk("/srv/state", leave=20 << 20)
    failed = primary.mailtwin("dump", "run", "big", check=False)
    assert failed.returncode == 1 and "left to the journal" in failed.stderr, failed
    assert versions(primary, "big") == []
    assert not list(primary.path("/srv/state/spool/big").glob(".tmp-*"))
    primary.mailtwin("dump", "run", "roster")


@pytest.mark.parametrize("who", ["dumpd", "dump"])
def test_a_dump_that_is_killed_leaves_no_version_and_no_command(make_lab, who):
    lab = start(make_lab, slow={**SQLITE, "command": "sh -c 'echo half; exec sleep 1000'"})
    primary = lab["mx1"]
    primary.dumpd.start()

    def found(pattern):
        return primary.run("pgrep", "-x", pattern, check=False).stdout.split()
    wait_until(lambda: found("sleep"), 20, primary.dumpd.log)
    for pid in found("mailtwin-dumpd" if who == "dumpd" else "dump")[:1] or [None]:
        if pid is None:
            primary.dumpd.process.kill()
        else:
            primary.run("kill", "-9", pid)
    if who == "dumpd":
        wait_until(lambda: not found("sleep"), 20, "the command outlives its daemon")
    assert versions(primary, "slow") == []


@pytest.mark.long
def test_a_version_that_only_the_old_primary_had_is_kept_and_restored_by_its_name(make_lab):
    """As the runbook returning-primary has it."""
    lab = start(make_lab, roster={**SQLITE, "every": "1h"})
    old, new = lab["mx1"], lab["mx2"]
    roster(old, "create table people (name text)")
    old.mailtwin("dump", "run", "roster")
    lab.level(old)
    lab.network.cut(old, new)
    roster(old, "insert into people values ('alone')")
    old.mailtwin("dump", "run", "roster")
    old.mailtwin("barrier", "--timeout", "1s", check=False)
    old.halt()
    new.mailtwin("promote", "--force")
    old.boot()
    lab.network.heal(old, new)
    old.daemon.start()
    old.daemon.wait_role("standby", 60)
    old.daemon.wait_status(lambda status: status["salvage"]["waiting"] == 0, 60, "all is answered")
    item, = [one for one in json.loads(old.mailtwin("salvage", "list", "--json").stdout)["items"] if one["kind"] == "file"]
    assert item["state"] == "refused" and item["store"] == "roster"
    content = old.path(item["kept"]).read_bytes()
    new.path(f"/srv/state/spool/roster/{item['path']}").write_bytes(content)
    assert roster(new) == []
    new.mailtwin("dump", "restore", "roster", "--version-name", item["path"], "--yes")
    assert roster(new) == ["alone"]
    old.run("sh", "-ec", f"head -c -96 {item['kept']} | sqlite3 {STORE}/scratch")
    assert old.run("sqlite3", f"{STORE}/scratch", "select name from people").stdout.split() == ["alone"]
