------------------------------- MODULE Reads -------------------------------
(***************************************************************************)
(* Reads, on top of what the trace checker accepts (Accepted).             *)
(*                                                                         *)
(* A read has to see whatever was acknowledged, by anybody, before it      *)
(* began.  A LEADER cannot know by itself what that is: it may have been   *)
(* deposed, and its successor may have acknowledged more.  So it notes     *)
(* down how far it knows the log committed (ReadStart), asks the others    *)
(* whether they are in its term still (Confirm), and answers once a        *)
(* quorum has said so (ReadServe).                                         *)
(*                                                                         *)
(* Why that is enough: say that an entry was acknowledged before the       *)
(* ReadStart.  If a leader of an earlier term did so, the entry is in the  *)
(* log of this one, below its epoch record, which it knows to be           *)
(* committed.  If a leader of a later term did, a quorum had stored        *)
(* something in that later term before the ReadStart; one of those nodes   *)
(* is among the ones that confirm, and would have gone back to an earlier  *)
(* term.  No clock has a part in this: there are no leases.                *)
(*                                                                         *)
(* As in Accepted an action is a line of a trace, and nothing stops a line *)
(* but the guards of docs/trace-format.md: those of Accepted and the ones  *)
(* below.  A ReadStart is referred to by its term and its number in that   *)
(* term.                                                                   *)
(***************************************************************************)
EXTENDS Accepted

CONSTANT MaxReads    \* at most this many ReadStarts in a term

VARIABLES
  starts,     \* starts[t] are the ReadStarts in t, with the index and what was acknowledged before
  confirms,   \* the Confirms: who, in which term, and the ReadStart cited
  served      \* the ReadServes: the ReadStart cited and the index

reads == <<starts, confirms, served>>

-----------------------------------------------------------------------------
(* The guards.  n is the node of the event, t its term, k a number.        *)

ReadIndex(n, t, low, i) == leads[n] = t /\ type[n] = "LEADER" /\ low <= i /\ i <= commit[n]
  (* A LEADER in office names an index that it knows to be committed.  For *)
  (* a ReadStart low is all that it knows so, for a ReadServe the index of *)
  (* the ReadStart.                                                        *)

ConfirmHeard(t, u, k) == u = t /\ k \in DOMAIN starts[u]
  (* There is a k-th ReadStart of term u, and u is the term of who says so.*)

ReadConfirmed(n, t, k, cited) ==
  /\ leads[n] = t
  /\ k \in DOMAIN starts[t]
  /\ \A r \in served : <<r.term, r.number>> # <<t, k>>
  /\ \A c \in cited : c.term = t /\ c.of = t /\ c.number = k
  /\ IsMajority({c.node : c \in cited} \cup {n}, Config(log[n]))
  (* More than half of the voters, n among them, have confirmed the k-th   *)
  (* ReadStart of t, and it has not been served yet: reads that come in    *)
  (* after it need another one.                                            *)

-----------------------------------------------------------------------------
(* The events.                                                             *)

ReadStart(n) ==
  \E i \in 0..MaxLog :
    LET t == term[n] IN
    /\ Runs(n)
    /\ t # 0
    /\ Len(starts[t]) < MaxReads
    /\ ReadIndex(n, t, commit[n], i)
    /\ LET start == [index |-> i, before |-> {a[1] : a \in acked}]
       IN starts' = [starts EXCEPT ![t] = Seqs!Append(@, start)]
    /\ UNCHANGED <<vars, confirms, served>>
  (* n begins to answer the reads that have come in.                       *)

Confirm(n) ==
  \E t, u \in Term, k \in 1..MaxReads :
    /\ Runs(n)
    /\ TermMonotonic(n, t)
    /\ ConfirmHeard(t, u, k)
    /\ term' = [term EXCEPT ![n] = t]
    /\ confirms' = confirms \cup {[node |-> n, term |-> t, of |-> u, number |-> k]}
    /\ UNCHANGED <<frontend, log, synced, ballots, leaders, stored, commits, clients>>
    /\ UNCHANGED <<starts, served>>
  (* n, having heard of the ReadStart, is still in its term.               *)

ReadServe(n) ==
  \E k \in 1..MaxReads, i \in 0..MaxLog :
    LET t == term[n] IN
    /\ Runs(n)
    /\ t # 0
    /\ k \in DOMAIN starts[t]
    /\ ReadIndex(n, t, starts[t][k].index, i)
    /\ Holds(\E cited \in SUBSET confirms : ReadConfirmed(n, t, k, cited))
    /\ served' = served \cup {[term |-> t, number |-> k, index |-> i]}
    /\ UNCHANGED <<vars, starts, confirms>>
  (* n answers them: they see the log up to i.                             *)

ReadsInit == /\ Init
             /\ starts = [t \in Term |-> <<>>]
             /\ confirms = {}
             /\ served = {}

ReadsNext == \/ Next /\ UNCHANGED reads
             \/ \E n \in Node : ReadStart(n)
             \/ \E n \in Node : Confirm(n)
             \/ \E n \in Node : ReadServe(n)

ReadsSpec == ReadsInit /\ [][ReadsNext]_<<vars, reads>>

-----------------------------------------------------------------------------
(* What holds in every state.                                              *)

ReadsFresh == \A r \in served : \A i \in starts[r.term][r.number].before : i <= r.index
  (* A read sees every entry that any leader had acknowledged before it    *)
  (* began.                                                                *)

ReadsCommitted == \A r \in served : \E l \in committed : r.index <= Len(l)
  (* A read sees nothing that is not committed.                            *)

THEOREM ReadsSpec => [](ReadsFresh /\ ReadsCommitted)
=============================================================================
