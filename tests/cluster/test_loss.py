"""The loss statement: what a primary that died may have had alone."""

import json

from lab.load import ANN
from lab.mail import missing


def promoted(old, new):
    """All of the old primary dies at once; the standby takes over."""
    old.halt()
    new.mailtwin("promote", "--force")
    new.daemon.wait_role("primary")


def statement(host, epoch=2):
    return json.loads(host.mailtwin("loss", "show", str(epoch), "--json").stdout)


def deliver(lab, name, user, count):
    with lab.lmtp(name) as lmtp:
        return [lmtp.deliver(user) for _ in range(count)]


def test_a_statement_says_what_is_missing_since_when(pair):
    old, new = pair["mx1"], pair["mx2"]
    deliver(pair, "mx1", ANN, 3)
    pair.level(old)
    level = old.daemon.status()["seq"]
    new.daemon.freeze("store")  # it receives nothing more, and hears no more
    lost = deliver(pair, "mx1", ANN, 2)
    old.halt()
    new.daemon.thaw("store")
    new.mailtwin("promote", "--force")
    new.daemon.wait_role("primary")
    said = statement(new)
    assert missing(lost, new.path(new.mail)) or said["known"]["changes"] == 0
    assert said["have_up_to"] >= level and said["last_primary"] == "mx1" and said["last_epoch"] == 1
    assert said["last_word"]["seq"] >= level
    assert said["open_from"] < said["open_until"] and said["state"] == "preliminary"
    assert said["have_up_to"] + said["known"]["changes"] >= said["last_word"]["seq"]
    assert json.loads((new.path("/srv/state") / "loss" / "2.json").read_text()) == said
    text = new.mailtwin("loss", "show", "2").stdout
    assert "took over from mx1 (epoch 1)" in text and "preliminary" in text
    assert "epoch 2 " in new.mailtwin("loss").stdout
    assert new.daemon.events("LOSS_STATEMENT")


def test_a_primary_that_lives_on_alone_is_open_from_its_last_word(pair):
    old, new = pair["mx1"], pair["mx2"]
    deliver(pair, "mx1", ANN, 2)
    pair.level(old)
    pair.network.cut(old, new)
    deliver(pair, "mx1", ANN, 3)
    promoted(old, new)
    said = statement(new)
    assert said["known"] == {"changes": 0, "first": None, "last": None}
    assert said["last_word"]["seq"] == said["have_up_to"]
    stores = {store["name"]: store["acknowledged"] for store in said["stores"]}
    assert stores == {"mail": "none-while-protected", "files": "possible"}
    text = new.mailtwin("loss", "show", "2").stdout
    assert "mail: nothing that waited at a barrier" in text and "no gate delivers to it" in text
    assert "files: what was acknowledged may be among it" in text


def test_what_was_heard_outlives_a_restart_of_the_standby(pair):
    old, new = pair["mx1"], pair["mx2"]
    deliver(pair, "mx1", ANN, 2)
    pair.level(old)
    old.halt()
    new.daemon.wait_peer("mx1", "connecting")
    new.daemon.restart()
    new.mailtwin("promote", "--force")
    new.daemon.wait_role("primary")
    said = statement(new)
    assert said["last_word"] is not None and said["last_word"]["seq"] == said["have_up_to"]


def test_a_planned_promotion_has_no_statement(pair):
    old, new = pair["mx1"], pair["mx2"]
    old.dovecot.stop()
    pair.level(old)
    old.mailtwin("demote")
    new.mailtwin("promote")
    assert "no loss statement" in new.mailtwin("loss").stdout
    refused = new.mailtwin("loss", "show", "2", check=False)
    assert refused.returncode == 2 and "epoch 2" in refused.stderr
    assert new.mailtwin("loss", "show", "x", check=False).returncode == 2
    assert new.mailtwin("loss", "lost", check=False).returncode == 2
