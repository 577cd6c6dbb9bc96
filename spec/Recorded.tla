------------------------------ MODULE Recorded ------------------------------
(***************************************************************************)
(* The protocol, bound to what a trace has recorded.                       *)
(*                                                                         *)
(* `trace-check tlc` turns a trace into Steps, one record for each step of *)
(* HACoordination that an event stands for, in an order that respects what *)
(* happened before what, and has TLC find out whether the protocol can     *)
(* take them all, one after the other.  A long trace goes through this     *)
(* module in pieces: Begin is the state in which the piece before ended.   *)
(*                                                                         *)
(* A step names its action (a), its node (n) and that node's term (t), and *)
(* what else the event says: k and kt are an index and the term of the     *)
(* entry there.  Whether the events that it cites are there, were heard of *)
(* and say what it takes them to say, is told, as there are no messages    *)
(* here.  docs/audit.md has the table, and says how the terms and indexes  *)
(* of a trace become the small numbers used here.                          *)
(*                                                                         *)
(* The group may change, as in Membership: who counts is a matter of the   *)
(* configuration in a node's log.  HACoordination knows of none.  So where *)
(* there is more than one, or somebody who has no vote, its quorums are    *)
(* replaced by what is here, and IsQuorum is asked for no more than Some.  *)
(*                                                                         *)
(* Every step is one of HACoordination, by its own definition, or changes  *)
(* nothing of it.  What is added here only says which one.                 *)
(***************************************************************************)
EXTENDS HACoordination, TLC

CONSTANTS
  Steps,    \* the steps of the piece
  Begin,    \* the state before the first of them
  Configs,  \* the configurations, each with the place k, kt in a log
  Stop      \* where to say what is in the way; 0 for nowhere

VARIABLES
  at,       \* the step to be taken next
  shown     \* shown[n] is the term of the last event of n

recorded == <<at, shown>>

-----------------------------------------------------------------------------
(* In place of definitions of HACoordination, for TLC.                     *)

Highest == Cardinality(Term)
  (* For Latest.  Which terms a candidate has heard of, no event says: a   *)
  (* message may name a term in which its sender has recorded nothing.     *)

Matching(l, m) == Cardinality({i \in 1..Len(l) : i <= Len(m) /\ l[i] = m[i]})
  (* For Common, which is the same by LogMatching, and takes longer.       *)

-----------------------------------------------------------------------------
(* Configurations.                                                         *)

Has(l, k, t) == k <= Len(l) /\ IF k = 0 THEN TRUE ELSE l[k].term = t

In(l) == {i \in DOMAIN Configs : Has(l, Configs[i].k, Configs[i].kt)}

Configuration(l) == Configs[CHOOSE i \in In(l) : \A j \in In(l) : Configs[j].k <= Configs[i].k]
  (* The one that the owner of a log goes by: the last one in it.  The     *)
  (* first of Configs is at 0: it is there from the beginning.             *)

Voters(l) == Configuration(l).voters

Majority(S, l) == 2 * Cardinality(S \cap Voters(l)) > Cardinality(Voters(l))

MayCommitByConfiguration(t, i) ==
  \E k \in i..Len(leaderLog[t]) :
    /\ leaderLog[t][k].term = t
    /\ Majority({n \in Node : acked[t][n] >= k}, leaderLog[t])
  (* For MayCommit.                                                        *)

Some(S) == S # {}
  (* For IsQuorum.                                                         *)

NoVoter(n) ==
  \E i \in DOMAIN Configs :
    /\ n \notin Configs[i].voters
    /\ Configs[i].k >= Configuration(log[n]).k
    /\ i \in In(log[n]) \cup UNION {In(leaderLog[t]) : t \in Term}
  (* n has no vote, by its own log or by what it may not have heard yet.   *)

Changed(c, d) == {x[1] : x \in (c.members \ d.members) \cup (d.members \ c.members)}
  (* The nodes in which two configurations differ.                         *)

-----------------------------------------------------------------------------
(* What an event says besides.                                             *)

EndsAt(l, k, t) == Position(l) = <<t, k>>

Own(n) == IF term[n] > 0 /\ n \in winners[term[n]] THEN leaderLog[term[n]] ELSE <<>>
  (* What n has in memory as the leader of its term, or had.               *)

ShowsTerm(r) == /\ r.t >= shown[r.n]
                /\ role[r.n] = "leader" => r.t = term[r.n]
  (* Events never show an earlier term, and a leader's shows its own.      *)

OfTerm(r) == r.t = term[r.n]

VotedFor(r) == /\ r.vs \subseteq Voters(log[r.n])
               /\ Majority({m \in r.by : vote[r.t][m] = r.n}, log[r.n])

Cited(r) == /\ r.vs \subseteq Voters(leaderLog[r.t])
            /\ Majority({m \in r.by : acked[r.t][m] >= r.k}, leaderLog[r.t])

GoesBy(r) == r.vs = Voters(log[r.n])
  (* The voters that n names are those of its configuration.               *)

Joins(r) == r.vs = {} /\ r.k = 0 /\ \A x \in Configs[1].members : x[1] # r.n
  (* A node that has just been added knows of none.                        *)

New(r) == Configs[CHOOSE i \in DOMAIN Configs : Configs[i].k = r.k /\ Configs[i].kt = r.t]

OneChange(r) == /\ Fenced(r.n)
                /\ Configuration(leaderLog[r.t]).k <= commit[r.t]
                /\ LET c == Configuration(leaderLog[r.t])
                       nodes == Cardinality(Changed(c, New(r)))
                   IN  nodes = 1 \/ (nodes = 0 /\ c.open)
  (* As Propose in Membership.  Where a founder was at first may not be    *)
  (* known; then nobody can tell whether it has moved.                     *)

Records(r, l) == \A x \in r.epochs : x[1] <= Len(l) /\ l[x[1]].epoch = x[2]
  (* The epoch records that the event names are those in the log l.        *)

Known(r) == \E u \in Term : r.k <= commit[u] /\ Has(leaderLog[u], r.k, r.kt)
  (* Some leader knows committed what the event says is.                   *)

-----------------------------------------------------------------------------
(* One step for each kind of event.                                        *)

Starts(r) == /\ EndsAt(log[r.n], r.k, r.kt)
             /\ GoesBy(r) \/ Joins(r)
             /\ r.t > 0 => vote[r.t][r.n] = r.v
             /\ Start(r.n)

Transfers(r) == IF r.to = "OBSERVER" THEN NoVoter(r.n) /\ Transfer(r.n, "FOLLOWER")
                ELSE Transfer(r.n, r.to)
  (* An observer is to HACoordination a FOLLOWER whom nobody counts.       *)

Campaigns(r) == /\ EndsAt(log[r.n], r.k, r.kt)
                /\ GoesBy(r) /\ r.n \in r.vs
                /\ Campaign(r.n)
                /\ term'[r.n] = r.t

Grants(r) == EndsAt(log[r.n], r.k, r.kt) /\ Grant(r.n, r.c) /\ term'[r.n] = r.t

Wins(r) == /\ OfTerm(r)
           /\ VotedFor(r)
           /\ Win(r.n)

Opens(r) == /\ OfTerm(r)
            /\ role[r.n] = "leader"
            /\ Len(leaderLog[r.t]) = r.k
            /\ leaderLog[r.t][r.k] = EpochRecord(r.t, r.e, r.n)
            /\ UNCHANGED vars
  (* The first Append of a term, which Win has done.                       *)

Appends(r) == OfTerm(r) /\ Len(leaderLog[r.t]) = r.k - 1 /\ Append(r.n)

Changes(r) == OneChange(r) /\ Appends(r)

Stores(r) == \/ /\ r.k > 0
                /\ Has(leaderLog[r.t], r.k, r.kt)
                /\ Store(r.n)
                /\ term'[r.n] = r.t
                /\ Len(log'[r.n]) = r.k
             \/ /\ r.k = 0
                /\ log[r.n] = <<>>
                /\ winners[r.t] # {}
                /\ UNCHANGED vars
  (* A node without any entries may say so.                                *)

StoresOwn(r) == Store(r.n) /\ Len(log'[r.n]) = r.k /\ term'[r.n] = term[r.n]

Installs(r) == /\ r.by \subseteq winners[r.t]
               /\ r.n \notin winners[r.t]
               /\ r.t >= term[r.n]
               /\ Has(leaderLog[r.t], r.k, r.kt)
               /\ Known(r)
               /\ IF Has(log[r.n], r.k, r.kt) THEN UNCHANGED vars
                  ELSE \/ Stores(r)
                       \/ Has(Own(r.n), r.k, r.kt) /\ StoresOwn(r)
  (* A node takes an image of its leader's in place of its log, unless it  *)
  (* has all of that.  An image is a log that has been read.  What n has   *)
  (* appended as the leader of an earlier term it may keep.                *)

Commits(r) == /\ OfTerm(r)
              /\ Cited(r)
              /\ Records(r, leaderLog[r.t])
              /\ Has(leaderLog[r.t], r.k, r.kt)
              /\ \/ commit[r.t] < r.k /\ Commit(r.n)
                 \/ commit[r.t] >= r.k /\ role[r.n] = "leader" /\ UNCHANGED vars
  (* A leader's.  As many of these as there are entries.                   *)

Learns(r) == /\ \/ Has(log[r.n], r.k, r.kt) /\ Records(r, log[r.n])
                \/ Has(Own(r.n), r.k, r.kt) /\ Records(r, Own(r.n))
             /\ Known(r)
             /\ UNCHANGED vars
  (* The Commit of a node that does not lead.                              *)

Activates(r) == /\ OfTerm(r)
                /\ \E i \in 1..Len(leaderLog[r.t]) : leaderLog[r.t][i] = EpochRecord(r.t, r.e, r.n)
                /\ Activate(r.n)

Acked(r, i) == /\ i <= commit[r.t]
               /\ leaderLog[r.t][i].term = r.kt
               /\ ~IsEpochRecord(leaderLog[r.t][i])

Acks(r) == /\ OfTerm(r)
           /\ r.i <= r.k
           /\ \A i \in r.i..r.k : Acked(r, i)
           /\ IF r.kt = r.t THEN Ack(r.n) ELSE MayWrite(r.n) /\ UNCHANGED vars
  (* A write of an earlier term, tried again, may be acknowledged too.     *)

Loses(r) == OfTerm(r) /\ Lose(r.n)

Event(r) ==
  /\ ShowsTerm(r)
  /\ r.told
  /\ shown' = [shown EXCEPT ![r.n] = r.t]
  /\ \/ r.a = "Start" /\ Starts(r)
     \/ r.a = "Transfer" /\ Transfers(r)
     \/ r.a = "Exit" /\ Exit(r.n)
     \/ r.a = "Show" /\ UNCHANGED vars
     \/ r.a = "Learn" /\ Learns(r)
     \/ /\ r.t \in Term
        /\ \/ r.a = "Campaign" /\ Campaigns(r)
           \/ r.a = "Grant" /\ Grants(r)
           \/ r.a = "Win" /\ Wins(r)
           \/ r.a = "Open" /\ Opens(r)
           \/ r.a = "Append" /\ Appends(r)
           \/ r.a = "Change" /\ Changes(r)
           \/ r.a = "Store" /\ Stores(r)
           \/ r.a = "Install" /\ Installs(r)
           \/ r.a = "Commit" /\ Commits(r)
           \/ r.a = "Activate" /\ Activates(r)
           \/ r.a = "Ack" /\ Acks(r)
           \/ r.a = "Lose" /\ Loses(r)

-----------------------------------------------------------------------------
(* What no event says, because the process was killed before it could.  It *)
(* shows in the next Start, with which these come, before the Crash.  All  *)
(* but the Crash may also not have been.                                   *)

StepsAside(r) == r.t > term[r.n] /\ Lose(r.n)

Votes(r) == /\ vote[r.t][r.n] # r.c
            /\ IF r.c = r.n THEN Campaign(r.n) ELSE Grant(r.n, r.c)
            /\ term'[r.n] = r.t

Recovers(r) ==
  LET from == {t \in Term : /\ t <= r.t /\ r.k > 0
                            /\ Has(leaderLog[t], r.k, r.kt)
                            /\ MayStore(r.n, t)
                            /\ Continues(r.n, t, r.k)}
  IN  /\ ~EndsAt(log[r.n], r.k, r.kt)
      /\ from # {}
      /\ Store(r.n)
      /\ Len(log'[r.n]) = r.k
      /\ term'[r.n] = CHOOSE t \in from : \A u \in from : t <= u
  (* n has stored what its disk shows.  Of the leaders that it may have    *)
  (* had it from it is the first: this leaves n free to do most.           *)

Keeps(r) == /\ ~EndsAt(log[r.n], r.k, r.kt)
            /\ Has(Own(r.n), r.k, r.kt)
            /\ StoresOwn(r)
  (* Who has lost a term may keep what it had appended and not stored.     *)

Replaces(r) ==
  /\ ~EndsAt(log[r.n], r.k, r.kt)
  /\ Store(r.n)
  /\ Len(log'[r.n]) <= r.k
  /\ term'[r.n] <= r.t
  /\ LET k == Len(log'[r.n])
     IN  k <= Len(log[r.n]) /\ log'[r.n][k] # log[r.n][k]
                            /\ Prefix(log'[r.n], k - 1) = Prefix(log[r.n], k - 1)
  (* An end can be given up for another leader's entry, and that again for *)
  (* what was there at first.  One entry is enough for that.               *)

Silence(r) ==
  /\ UNCHANGED shown
  /\ \/ r.a = "Crash" /\ Crash(r.n)
     \/ r.a # "Crash" /\ UNCHANGED vars
     \/ r.a = "StepAside" /\ StepsAside(r)
     \/ r.a = "Vote" /\ Votes(r)
     \/ r.a = "Recover" /\ Recovers(r)
     \/ r.a = "Keep" /\ Keeps(r)
     \/ r.a = "Replace" /\ Replaces(r)

Silent == {"Crash", "StepAside", "Vote", "Recover", "Keep", "Replace"}

-----------------------------------------------------------------------------
(* The trace.                                                              *)

RecordedInit == /\ term = Begin.term
                /\ log = Begin.log
                /\ type = Begin.type
                /\ role = Begin.role
                /\ leaderLog = Begin.leaderLog
                /\ acked = Begin.acked
                /\ commit = Begin.commit
                /\ active = Begin.active
                /\ winners = Begin.winners
                /\ vote = Begin.vote
                /\ request = Begin.request
                /\ shown = Begin.shown
                /\ at = 1

RecordedNext == /\ at <= Len(Steps)
                /\ at' = at + 1
                /\ IF Steps[at].a \in Silent THEN Silence(Steps[at]) ELSE Event(Steps[at])

RecordedSpec == RecordedInit /\ [][RecordedNext]_<<vars, recorded>>

InvNow == at > Len(Steps) \/ Steps[at].inv => Inv
  (* The invariants of HACoordination, where it makes a difference to ask. *)

State == [ term |-> term, log |-> log, type |-> type, role |-> role,
           leaderLog |-> leaderLog, acked |-> acked, commit |-> commit, active |-> active,
           winners |-> winners, vote |-> vote, request |-> request, shown |-> shown ]

Reached == at > Len(Steps) => PrintT(<<"reached", State>>)
  (* How the piece ends, if it does.  It is TRUE.                          *)

-----------------------------------------------------------------------------
(* What is in the way of a step.                                           *)

Guards(r) ==
  LET n == r.n
      t == r.t
      shows == {<<"ShowsTerm", ShowsTerm(r)>>, <<"told", r.told>>}
      office == {<<"OfTerm", OfTerm(r)>>, <<"role = leader", role[n] = "leader">>}
      electable == {<<"Electable", type[n] \in Electable>>, <<"role # leader", role[n] # "leader">>}
  IN  shows \cup
      CASE r.a = "Start" -> {<<"type = DOWN", ~IsUp(n)>>,
                             <<"vote", t > 0 => vote[t][n] = r.v>>,
                             <<"log", EndsAt(log[n], r.k, r.kt)>>,
                             <<"Voters", GoesBy(r) \/ Joins(r)>>}
        [] r.a = "Transfer" -> {<<"Table", r.to \in Table[type[n]] \/ r.to = "OBSERVER">>,
                                <<"NoVoter", r.to = "OBSERVER" => NoVoter(n)>>,
                                <<"role # leader", role[n] # "leader">>}
        [] r.a = "Exit" -> {<<"IsUp", IsUp(n)>>}
        [] r.a = "Learn" -> {<<"log", Has(log[n], r.k, r.kt) \/ Has(Own(n), r.k, r.kt)>>,
                             <<"epochs", Records(r, log[n]) \/ Records(r, Own(n))>>,
                             <<"commit", Known(r)>>}
        [] r.a = "Show" -> {}
        [] t \notin Term -> {<<"Term", FALSE>>}
        [] r.a = "Campaign" -> electable \cup {<<"t > term", t > term[n]>>,
                                               <<"Voters", GoesBy(r) /\ n \in r.vs>>,
                                               <<"log", EndsAt(log[n], r.k, r.kt)>>}
        [] r.a = "Grant" -> {<<"IsUp", IsUp(n)>>, <<"role # leader", role[n] # "leader">>,
                             <<"t >= term", t >= term[n]>>, <<"MayVote", MayVote(n, t)>>,
                             <<"request", vote[t][r.c] = r.c /\ n # r.c>>,
                             <<"UpToDate", UpToDate(request[t][r.c], log[n])>>,
                             <<"log", EndsAt(log[n], r.k, r.kt)>>}
        [] r.a = "Win" -> {<<"OfTerm", OfTerm(r)>>, <<"Electable", type[n] \in Electable>>,
                           <<"role = candidate", role[n] = "candidate">>,
                           <<"Voters", r.vs \subseteq Voters(log[n])>>,
                           <<"IsQuorum", VotedFor(r)>>}
        [] r.a = "Open" -> office \cup {<<"NextEpoch", \E k \in DOMAIN leaderLog[t] :
                                            leaderLog[t][k] = EpochRecord(t, r.e, n)>>,
                                        <<"leaderLog", Len(leaderLog[t]) = r.k>>}
        [] r.a = "Change" -> {<<"OfTerm", OfTerm(r)>>, <<"MayWrite", MayWrite(n)>>,
                              <<"leaderLog", Len(leaderLog[t]) = r.k - 1>>,
                              <<"OneChange", OneChange(r)>>}
        [] r.a = "Append" -> {<<"OfTerm", OfTerm(r)>>, <<"MayWrite", MayWrite(n)>>,
                              <<"leaderLog", Len(leaderLog[t]) = r.k - 1>>}
        [] r.a = "Store" -> {<<"IsUp", IsUp(n)>>, <<"MayStore", MayStore(n, t)>>,
                             <<"leaderLog", winners[t] # {} /\ Has(leaderLog[t], r.k, r.kt)>>,
                             <<"Continues", Continues(n, t, r.k)>>}
        [] r.a = "Install" -> {<<"winners", r.by \subseteq winners[t] /\ n \notin winners[t]>>,
                               <<"MayStore", MayStore(n, t)>>,
                               <<"leaderLog", Has(leaderLog[t], r.k, r.kt)>>,
                               <<"commit", Known(r)>>}
        [] r.a = "Commit" -> office \cup {<<"leaderLog", Has(leaderLog[t], r.k, r.kt)>>,
                                          <<"epochs", Records(r, leaderLog[t])>>,
                                          <<"IsQuorum", Cited(r)>>,
                                          <<"Voters", r.vs \subseteq Voters(leaderLog[t])>>,
                                          <<"MayCommit", commit[t] < r.k
                                                           => MayCommit(t, commit[t] + 1)>>}
        [] r.a = "Activate" -> office \cup {<<"Electable", type[n] \in Electable>>,
                                            <<"MayActivate", OfTerm(r) /\ MayActivate(n)>>,
                                            <<"epoch", \E k \in DOMAIN leaderLog[t] :
                                                leaderLog[t][k] = EpochRecord(t, r.e, n)>>}
        [] r.a = "Ack" -> {<<"OfTerm", OfTerm(r)>>, <<"MayWrite", MayWrite(n)>>,
                           <<"MayAck", r.i <= r.k /\ \A i \in r.i..r.k : Acked(r, i)>>}
        [] r.a = "Lose" -> office
        [] OTHER -> {}

InTheWay ==
  at = Stop => PrintT(<<"stopped", {g[1] : g \in {x \in Guards(Steps[at]) : ~x[2]}}, State>>)
  (* The conditions of the next step that do not hold.  It is TRUE.        *)
=============================================================================
