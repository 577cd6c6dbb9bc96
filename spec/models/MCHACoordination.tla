-------------------------- MODULE MCHACoordination --------------------------
(***************************************************************************)
(* HACoordination within bounds, for TLC, and what makes its states few    *)
(* enough to be counted.                                                   *)
(*                                                                         *)
(* The name of a model says how many nodes, terms, entries of a log and    *)
(* writes there are: HACoordination_3n2t3e1w.  A model whose name ends     *)
(* with "all" leaves nothing out within these bounds.  The others leave    *)
(* out what makes no difference, in three ways.                            *)
(*                                                                         *)
(*  - Nodes are alike (Symmetry).                                          *)
(*  - Some steps lead nowhere that is not reached without them, and are    *)
(*    not taken; others might as well be taken at once (Spared).           *)
(*  - Some of the history has no bearing on anything any more, and states  *)
(*    that differ in nothing else are taken for the same (View).           *)
(*                                                                         *)
(* That these are harmless is argued below, not proved; spec/broken/ finds *)
(* its violations in spite of them.                                        *)
(***************************************************************************)
EXTENDS HACoordination, TLC

CONSTANTS
  MaxLog,      \* the number of entries in a log
  MaxWrites    \* how many of them may be writes

ShortForRecord(l) == Len(l) < MaxLog

ShortForWrite(l) == /\ Len(l) < MaxLog
                    /\ Cardinality({i \in 1..Len(l) : ~IsEpochRecord(l[i])}) < MaxWrites

Symmetry == Permutations(Node)

-----------------------------------------------------------------------------
(* Steps that are spared.                                                  *)

NoTransfer == [t \in {"DOWN", "INIT", "UNKNOWN", "FOLLOWER", "LEADER"} |-> {}]
  (* What UNKNOWN and FOLLOWER may do, INIT may do, and the type of a node *)
  (* that is not LEADER matters to nobody else.                            *)

Idle(n) == ~IsUp(n) \/ (type[n] = "LEADER" /\ role[n] # "leader")
  (* A node that is down, or a LEADER that has lost its role.  It does not *)
  (* hurt to let it Start, or Exit, before anything else happens: whatever *)
  (* it does not do afterwards is as if it had not been up.                *)

Behind(t) == /\ Leads(t)
             /\ MayCommit(t, commit[t] + 1)
             /\ \E u \in Term : /\ commit[u] > commit[t]
                                /\ leaderLog[u][commit[t] + 1] = leaderLog[t][commit[t] + 1]
  (* The leader of t can find committed what another one has found to be.  *)
  (* It does so at once, since nothing is committed by that.               *)

CanWin(t, c) == IsQuorum({n \in Node : \/ vote[t][n] = c
                                       \/ vote[t][n] = None /\ term[n] <= t})

IsRunning(t, c) == /\ term[c] = t
                   /\ role[c] = "candidate"
                   /\ CanWin(t, c)
  (* c can still win term t.  A campaign that cannot be won, and a vote    *)
  (* for a candidate that cannot win, only keep a node from doing          *)
  (* something else.                                                       *)

Spared ==
  LET idle == {n \in Node : Idle(n)}
      behind == {t \in Term : Behind(t)}
  IN  /\ idle # {} \/ behind # {} => \/ \E n \in idle : type'[n] # type[n]
                                     \/ \E t \in behind : commit'[t] # commit[t]
      /\ \A n \in Node : IsUp(n) /\ ~IsUp(n)' => Idle(n)
      /\ \A t \in Term, n \in Node :
           vote'[t][n] # vote[t][n] => IF vote'[t][n] = n THEN CanWin(t, n)
                                                          ELSE IsRunning(t, vote'[t][n])
  (* A process other than that of a LEADER that has lost its role does not *)
  (* end: a leader that Loses is as good as one that ends, and for all     *)
  (* others it is as good as doing nothing.                                *)

StartsAtOnce == (\E n \in Node : ~IsUp(n)) => \E n \in Node : ~IsUp(n) /\ type'[n] # "DOWN"
  (* Only the first of these, for protocols in which a crash does harm.    *)

-----------------------------------------------------------------------------
(* History that has no bearing on anything.                                *)

View ==
  LET leads == [t \in Term |-> Leads(t)]
      running == {n \in Node : term[n] > 0 /\ IsRunning(term[n], n)}
      known == [t \in Term |-> IF leads[t] \/ \A s \in Term : s < t => commit[s] < commit[t]
                               THEN commit[t]
                               ELSE 0]
        \* What an earlier leader knows already need not be known twice.
      said == [t \in Term |-> IF \A n \in Node : term[n] > t
                              THEN Prefix(leaderLog[t], known[t])
                              ELSE leaderLog[t]]
        \* Nobody listens any more to the leader of a term that all have left.
      counts == [t \in Term |-> IF leads[t]
                                THEN {<<n, acked[t][n]>> : n \in
                                        {m \in Node : /\ acked[t][m] > commit[t]
                                                      /\ leaderLog[t][acked[t][m]].term = t}}
                                ELSE {}]
        \* The acknowledgements by which a leader may yet find something committed.
      voted == [t \in Term |-> [n \in Node |->
                  IF vote[t][n] \in running /\ term[vote[t][n]] = t
                  THEN {vote[t][n]}
                  ELSE IF vote[t][n] # None /\ term[n] = t /\ winners[t] = {}
                  THEN Node
                  ELSE {}]]
        \* Votes for those who can win, and for the rest that there was one.  What
        \* such a candidate has asked with is its log, which has not changed since.
  IN  << term, log, type,
         [n \in Node |-> IF role[n] = "leader" \/ n \in running THEN role[n] ELSE "follower"],
         said, counts, known, active, {t \in Term : winners[t] = {}}, voted >>
=============================================================================
