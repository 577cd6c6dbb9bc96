"""The judge: every event to the guards on evidence, then to the views. Raises Refused at the first misfit."""

from __future__ import annotations

from itertools import pairwise

from trace_check.clients import Clients
from trace_check.configuration import Configuration
from trace_check.elections import Elections
from trace_check.graphs import Graphs
from trace_check.images import Images
from trace_check.logs import Logs
from trace_check.nodes import Cluster
from trace_check.read import Handler, Source
from trace_check.reads import Reads
from trace_check.starts import Starts
from trace_check.verdict import Counts, Coverage, Failover
from trace_check.views import Ballots, Fencing, Frontends


class Judge:
    """One per replay. Events must come in an order that respects happens-before (merge.py)."""

    def __init__(self, founding: Configuration, graphs: Graphs) -> None:
        """`founding` as the first Start shows it. Raises BadInput when a graph cannot be had."""
        views = Ballots(graphs), Fencing(graphs), Frontends(graphs)
        views[0].prepare(founding.voters)
        self.cluster = Cluster(founding, views)
        self.starts = Starts(self.cluster)
        self._elections = Elections(self.cluster)
        self._logs = Logs(self.cluster)
        self._images = Images(self.cluster, self._logs)
        self._reads = Reads(self.cluster)
        self._clients = Clients(self.cluster)
        self._node_handlers: dict[str, Handler] = {
            "Start": self.starts.start,
            "Campaign": self._elections.campaign,
            "Grant": self._elections.grant,
            "Win": self._elections.win,
            "Append": self._logs.append,
            "Store": self._logs.store,
            "Commit": self._logs.commit,
            "Image": self._images.image,
            "Install": self._images.install,
            "Activate": self._elections.activate,
            "Ack": self._logs.ack,
            "ReadStart": self._reads.start,
            "Confirm": self._reads.confirm,
            "ReadServe": self._reads.serve,
            "Lose": self._elections.lose,
            "Transfer": self._elections.transfer,
            "Exit": self.starts.exit,
        }
        self._client_handlers: dict[str, Handler] = {
            "Invoke": self._clients.invoke,
            "Ok": self._clients.ok,
            "Fail": self._clients.fail,
            "Unknown": self._clients.unclear,
        }

    def add(self, source: Source) -> None:
        """One more incarnation, after the earlier ones of its node."""
        self.cluster.add(source)
        source.handlers = self._client_handlers if source.client else self._node_handlers

    def finished(self, source: Source) -> None:
        """A file has no more lines."""
        if source.client:
            self._clients.finished(source)
        else:
            self.starts.finished(source)

    def may_pause(self, source: Source) -> None:
        """A file has no more lines for now, and may well end here. Raises Refused."""
        if not source.client:
            self.starts.finished(source)

    def end(self) -> None:
        """All that was ready has been judged."""

    def notes(self) -> list[str]:
        """What else there is to say."""
        return []

    def missing(self) -> list[str]:
        """What keeps a trace without a violation from being accepted."""
        cluster = self.cluster
        missing = [f"no trace of {v}, a voter" for v in sorted(cluster.electorate) if v not in cluster.nodes]
        missing += [
            f"a Ballot graph for {size} voters: votes were judged by evidence alone" for size in cluster.ballots.without
        ]
        if self._clients.late:
            missing.append(
                f"what {self._clients.late} operations of clients had to be held against: they stand so much later in "
                "their files than others of the same time that it is not kept any more"
            )
        return missing

    def coverage(self) -> tuple[Coverage, ...]:
        """How much of each view's graph has been walked."""
        cluster = self.cluster
        frontends = cluster.frontends.view.coverage(len(cluster.nodes))
        return *cluster.ballots.coverage(), cluster.fencing.coverage(), frontends

    def counts(self, events: int) -> Counts:
        """The numbers of the run, as far as it was judged."""
        cluster, clients = self.cluster, self._clients
        promises = clients.promises()
        nodes = [s for s in cluster.sources if not s.client]
        return Counts(
            files=sum(len(s.parts) for s in cluster.sources),
            nodes=len(cluster.nodes),
            incarnations=len(nodes),
            clients=len({s.node for s in cluster.sources if s.client}),
            events=events,
            terms=max((n.term for n in cluster.nodes.values()), default=0),
            leaders=len(cluster.tree.terms),
            epochs=self._logs.epochs_committed,
            entries_committed=cluster.tree.committed,
            writes_acknowledged=sum(p.writes for p in promises),
            writes_lost=clients.lost,
            writes_unknown=sum(p.unknown for p in promises),
            writes_failed=sum(p.refused for p in promises),
            reads_served=self._reads.served,
            reads_promised=sum(p.reads for p in promises),
            reads_stale=clients.stale,
            promises=promises,
        )

    def failovers(self) -> tuple[Failover, ...]:
        """From each active leader's end to the next one's activation, by the nodes' own clocks."""
        tree = self.cluster.tree
        active = [leader for t in tree.terms if (leader := tree.leaders[t]).activated_ts is not None]
        return tuple(
            Failover(a.node, a.term, b.node, b.term, (b.activated_ts - a.ended_ts) / 1e9)
            for a, b in pairwise(active)
            if a.ended_ts is not None and b.activated_ts is not None
        )
