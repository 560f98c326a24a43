"""What the benchmark says: JSON for machines, a table for people."""

import json


def figure(name, unit, ours, peers, goal, note, at_least=None, at_most=None, against=None, lower_is_better=True,
           times=True):
    """A row. ratio: how many times better than the best peer (or than the peer `against`). met: at_most
    bounds ours, at_least bounds the ratio; None does not bound. times: False where "times better" says nothing."""
    known = {peer: value for peer, value in peers.items() if value is not None}
    best = known.get(against) if against else _best(known.values(), lower_is_better)
    ratio = None
    if times and best is not None and ours:
        ratio = best / ours if lower_is_better else ours / best
    met = (at_most is None or ours <= at_most) and (at_least is None or (ratio is not None and ratio >= at_least))
    return {"figure": name, "unit": unit, "ours": _round(ours), "peers": {k: _round(v) for k, v in known.items()},
            "ratio": _round(ratio), "goal": goal, "met": bool(met), "note": note}


def _best(values, lower_is_better):
    values = list(values)
    if not values:
        return None
    return min(values) if lower_is_better else max(values)


def _round(value):
    return None if value is None else float(f"{value:.4g}")


def _number(value):
    return "-" if value is None else f"{value:g}"


def table(rows):
    """Ratios first, as a markdown table."""
    lines = ["| figure | times better | mailtwin | peers | goal | met |", "|---|---|---|---|---|---|"]
    for row in rows:
        peers = ", ".join(f"{name} {_number(value)}" for name, value in row["peers"].items()) or "-"
        lines.append(f"| {row['figure']} ({row['unit']}) | {_number(row['ratio'])} | {_number(row['ours'])} | {peers} "
                     f"| {row['goal']} | {'yes' if row['met'] else 'NO'} |")
    notes = [f"- {row['figure']}: {row['note']}" for row in rows if row["note"]]
    return "\n".join(lines + [""] + notes) + "\n"


def write(file, rows):
    """Merges rows into the file: a figure that was measured again replaces the old one."""
    old = json.loads(file.read_text()) if file.exists() else []
    names = {row["figure"] for row in rows}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([row for row in old if row["figure"] not in names] + rows, indent=2) + "\n")
