---------------------------- MODULE MCMembership ----------------------------
(***************************************************************************)
(* Membership with bounds, and with what makes no difference left out.     *)
(***************************************************************************)
EXTENDS Membership, TLC

CONSTANTS Voter, Learner, MaxLog, MaxChanges, MaxWrites
  (* Those who are in the group at first; how long logs may get, and how   *)
  (* many changes and writes they may have.                                *)

SetUp == [n \in Node |-> CASE n \in Voter   -> [part |-> "voter", address |-> n]
                           [] n \in Learner -> [part |-> "learner", address |-> n]
                           [] OTHER         -> Outside]
  (* Nodes are their own addresses.  Any other address is a different one. *)

ShortForRecord(l) == Len(l) < MaxLog
ShortForWrite(l) == /\ Len(l) < MaxLog
                    /\ Cardinality({i \in 1..Len(l) : l[i].kind = "write"}) < MaxWrites
ShortForAny(l, c) == Len(l) < MaxLog /\ Cardinality(Changes(l)) <= MaxChanges
ShortForVoters(l, c) == /\ ShortForAny(l, c)
                        /\ \A n \in Members(c) :
                             /\ c[n].address = n
                             /\ \/ c[n].part # "observer"
                                \/ Config(l)[n].part \in {"voter", "observer"}
  (* What may be added to a log: any change, or none of addresses, and of  *)
  (* observers only that voters become some.                               *)

CanWin(t, c) == ElectsIn({n \in Node : \/ vote[t][n] = c
                                       \/ /\ term[n] <= t
                                          /\ vote[t][n] = None
                                          /\ UpToDate(log[c], log[n])}, Config(log[c]))

Runs(t, c) == term[c] = t /\ Stands(c) /\ CanWin(t, c)

Useful == \A t \in Term, n \in Node :
            vote'[t][n] # vote[t][n] =>
              LET c == vote'[t][n]
              IN  IF c = n THEN CanWin(t, n) ELSE Runs(t, c) /\ n \in Voters(Config(log[c]))
  (* Nobody stands who cannot win, nobody votes for one who cannot any     *)
  (* more, nor without being counted: all that would do is to keep nodes   *)
  (* from doing other things.                                              *)

Leading(t) == \E n \in winners[t] : term[n] = t

View ==
  LET runs == {c \in Node : term[c] > 0 /\ Runs(term[c], c)}
      kept == [t \in Term |->
                IF \E u \in Term : /\ u > t /\ commit[u] >= commit[t]
                                /\ \A n \in Node : term[n] >= u
                THEN 0 ELSE commit[t]]
      from(t) == CHOOSE i \in 1..Len(leaderLog[t]) :
                   leaderLog[t][i].term = t /\ \A j \in 1..(i - 1) : leaderLog[t][j].term < t
  IN  << term, log, kept, winners,
         [t \in Term |-> IF \A n \in Node : term[n] > t THEN Prefix(leaderLog[t], kept[t])
                                                      ELSE leaderLog[t]],
         [t \in Term |-> IF ~Leading(t) THEN {}
                         ELSE {<<n, acked[t][n]>> : n \in
                                {m \in Node : acked[t][m] >= Max(commit[t], from(t))}}],
         [t \in Term |-> [n \in Node |->
            IF vote[t][n] \in runs /\ term[vote[t][n]] = t THEN {vote[t][n]}
            ELSE IF term[n] = t /\ vote[t][n] # None THEN {None}
            ELSE {}]] >>
  (* What of a state decides about anything to come: not the votes for     *)
  (* those who cannot win, nor what a leader that has gone on had, had     *)
  (* heard and knew, unless others may still store it or nobody else knew. *)

Symmetry == {p \in Permutations(Node) : \A n \in Node : /\ n \in Voter <=> p[n] \in Voter
                                                      /\ n \in Learner <=> p[n] \in Learner}
=============================================================================
