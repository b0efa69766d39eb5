"""docs/benchmarks.md, whole: what was run, how it was measured, and the tables."""

from . import membership, programs, report
from .figures import LIMIT

HOW = """\
Made by `sudo tests/bench{options}` {where}. That is how to repeat it: it installs what it needs, builds a release, measures and writes this page.{limit}

## How it was measured

- **Hosts** are namespaces of one kernel with a network like VirtualBox's ([the lab](../tests/lab/README.md)). Both programs run on the same hosts, in turns: a round of kpeer, one of kpeer without founding, one of Serf, one of Serf joined by address, and again.
- **kpeer** is the release build, its whole agent in a rehearsal: `kpeer agent --dry-run --expect N`. All that travels between hosts is as in earnest (discovery, election, record, tickets, gossip), and the group forms while it is measured; the executor looks at the host as always and tells what it would change instead of changing it. Everything else is at its default. "No founding" is the same kept from forming a cluster (`--no-fix --expect 500`): membership alone, while each agent still looks at its host as it starts. With more than {forms} hosts on one machine forming fills the processors for minutes: there kpeer is measured as it starts and is joined, and everything else of the one that founds nothing. All hosts together have the processors of one machine, so what a host does besides is in the time of all.
- **Serf** is Debian's, encrypted, with the LAN profile; its members find each other by mDNS or, as a second row, by the address of the first one (`-retry-join`, tried again every 100 ms). What comes after joining is the same for both, and measured once.
- **All at once** means that on each host the program waits at a gate, and one `close` opens all of them: that is when time begins. `start to ready` is until kpeer's agent says `agent-started`, Serf's `Serf agent running!`.
- **When** something becomes known is taken from the line that each program writes to its own log at that moment (`member-discovered`, `member-failed` … and `EventMemberJoin`, `EventMemberFailed` …), which goes through a pipe to one process with one clock. Nothing is polled, and nothing runs on the hosts for it.
- A group of N has N members as it forms. The newcomer stays, so what follows is of N + 1. A process that is killed, a host that is cut off or leaves is never the founder. A cut lasts until all have noticed it, and {cut} s at least. "Whole again" counts from before the wires are put together.
- `kpeer leave` also asks the founder to remove the Node, resets and undoes before it says goodbye; Serf's only says goodbye.
- **Forming**: with `--expect N` there is nothing to settle. The steps of a rehearsal change nothing, but they look at the host and start programs, some tens of milliseconds each. kpeer's own share is the time in which a group forms in earnest with an executor that has done each step as soon as it is asked (`tests/benchmark/steps_at_once.c`): a line of its own, the program otherwise the same.
- **At rest**: some {settle} s after the last change, over {rest} s. Memory is PSS of all of the program's processes: pages that hosts share are divided among them, which a machine with one host does not do. Processor time is that of the host's control group. Bytes are those of all its interfaces but lo, with headers; kpeer announces itself on the NAT interface, too, and Serf does not.
- A figure is the median; in brackets are the least and the greatest sample, how many there were, and how busy the machine was: 100% is all of its processors. `never` did not happen within a minute (two to know all, a minute and a half to be whole again).
- **Who is ahead** goes by the medians, that of the whole kpeer (the first column; where that is empty, the second) against the better one of Serf's; aims are held against the same. "Ranges overlap" means that some sample of the one is no better than some of the other.
- A sample during which processes that have nothing to do with it had more than {share:.0%} of the machine does not count and is taken again; a figure without samples that count is not reported. None of these times is a test that passes or fails."""


def build(figures, facts, plan, plots, parts):
    """The page's text. `facts` are of the run; `parts` further sections, each a list of lines."""
    limit = ("" if figures.limit <= LIMIT else
             " **The limit for what others may have of the machine was raised: no figure here can be trusted.**")
    lines = ["# Benchmarks", "", HOW.format(
        options=facts["options"], where=f"at commit {facts['commit']}, {facts['date']}, on {facts['machine']}, with {facts['serf']}",
        limit=limit, cut=membership.CUT_SECONDS, settle=f"{plan.settle:g}", rest=f"{plan.rest:g}", share=figures.limit, forms=programs.FORMS_TO), ""]
    if figures.samples:
        lines += ["## Membership, against Serf", "", *report.table(figures, 1, report.ALONE), ""]
    for size in figures.sizes():
        if size > 1:
            lines += [f"### {size} hosts", "", *report.table(figures, size, report.ROWS), ""]
    lines += [text for name in plots for text in (f"![{report.PLOTS[name][0]}]({name}.svg)", "")]
    for part in parts:
        lines += [*part, ""]
    missing = report.refused(figures, (*report.ALONE, *report.ROWS))
    if missing:
        lines += ["## Not reported", "", *(f"- {each}" for each in missing), ""]
    return "\n".join(lines).rstrip() + "\n"
