"""`report.html`: the report for a person, in one self-contained file. Pure: report in, HTML out."""

from typing import Any

from jinja2 import Environment

TEMPLATE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Scaleout rehearsal: {{ r.state }}</title>
<style>
  :root { color-scheme: light dark; --ok: #2a9d5c; --bad: #c8402f; --run: #2878d0; --line: #8884; }
  body { font: 15px/1.5 system-ui, sans-serif; margin: 2.5rem auto; max-width: 60rem; padding: 0 1.2rem; }
  h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.1rem; margin-top: 2rem }
  table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line) }
  .figures { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0 } .figures div { flex: 1 1 8rem; border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem }
  .figures b { display: block; font-size: 1.35rem } .ok { color: var(--ok) } .bad { color: var(--bad) }
  .bar { position: relative; height: 1.1rem } .bar i { position: absolute; top: .2rem; height: .7rem; border-radius: 2px; background: var(--run); min-width: 2px } .bar i.down { background: var(--bad) }
  td.n { text-align: right; white-space: nowrap } small { color: #888 }
</style>
<h1>Rehearsal: <span class="{{ 'ok' if r.state in ('migrated', 'planned') else 'bad' }}">{{ r.state.replace('_', ' ') }}</span></h1>
<p><small>{{ r.target.deployment }} in namespace {{ r.target.namespace }}, run {{ r.run }}{% if r.rehearsal %}, {{ '%.0f'|format(r.rehearsal.seconds) }} s in all, {{ r.rehearsal.started }}{% endif %}</small></p>
{% if r.failure %}<p class="bad">{{ r.failure.phase }}: {{ r.failure.message }}{% if r.failure.hint %}<br>→ {{ r.failure.hint }}{% endif %}</p>{% endif %}
<div class="figures">
  <div><b>{{ '{:,}'.format(r.rows_moved) }}</b>chunks moved</div><div><b>{{ '{:,}'.format(r.rows_verified) }}</b>verified</div>
  <div><b>{{ '{:,}'.format(r.collections) }}</b>collections</div><div><b>{{ '{:,}'.format(bytes) }}</b>bytes of files</div>
  <div><b>{{ r.replicas_ready }}</b>replicas ready</div><div><b>{{ r.downtime_seconds }} s</b>downtime</div>
</div>
<h2>Phases</h2><table>
{% for p in phases %}<tr><td>{{ p.name }}</td><td class="{{ 'ok' if p.state == 'done' else 'bad' if p.state in ('failed', 'undone') else '' }}">{{ p.state }}</td><td class="n">{{ '%.1f'|format(p.seconds) }} s</td><td style="width:55%"><div class="bar"><i class="{{ 'down' if p.name == 'cut_over' else '' }}" style="left:{{ p.left }}%;width:{{ p.width }}%"></i></div></td></tr>
{% endfor %}</table>
{% if r.criteria %}<h2>The nine success criteria</h2><table>
{% for c in r.criteria %}<tr><td class="{{ 'ok' if c.met else 'bad' }}">{{ '✓' if c.met else '✗' }}</td><td>{{ c.name }}</td><td><small>{{ c.evidence }}</small></td></tr>
{% endfor %}</table>{% endif %}
{% if r.connection_budget %}<h2>Connection budget</h2><p>{{ r.connection_budget.reason }}</p><table><tr><th>State</th><th>Connections</th></tr>
{% for name, n in r.connection_budget.states %}<tr><td>{{ name }}</td><td class="n">{{ n }} of {{ r.connection_budget.for_users }}</td></tr>
{% endfor %}</table>{% endif %}
<h2>Cost a month</h2><p>before ${{ '%.2f'|format(r.cost.before) }}, after ${{ '%.2f'|format(r.cost.after) }} <small>{{ r.cost.explanation }}</small></p>
{% if r.problems %}<h2>Findings</h2><table>
{% for p in r.problems %}<tr><td class="{{ 'bad' if p.severity == 'blocking' else '' }}">{{ p.severity }}</td><td>{{ p.message }}{% if p.hint %}<br><small>→ {{ p.hint }}</small>{% endif %}{% if p.ids %}<br><small>{{ p.ids | join(', ') }}</small>{% endif %}</td></tr>
{% endfor %}</table>{% endif %}
{% if r.changes %}<h2>{{ 'Would change' if r.state in ('planned', 'refused') else 'Changes' }}</h2><table>
{% for c in r.changes %}<tr><td>{{ c.action }}</td><td>{{ c.kind }}</td><td>{{ c.name }}</td><td><small>{{ c.detail }}</small></td></tr>
{% endfor %}</table>{% endif %}
</html>
"""


def render(report: dict[str, Any]) -> str:
    """Return the page."""
    page = Environment(autoescape=True).from_string(TEMPLATE)
    return page.render(r=report, phases=_bars(report["phases"]), bytes=int(report["files"].get("bytes") or 0))


def _bars(phases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Phases with the place of their bar, in per cent of the whole."""
    whole = sum(p["seconds"] for p in phases) or 1.0
    found, before = [], 0.0
    for phase in phases:
        place = {"left": round(100 * before / whole, 2), "width": round(100 * phase["seconds"] / whole, 2)}
        found.append(phase | place)
        before += phase["seconds"]
    return found
