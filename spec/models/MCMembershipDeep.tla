-------------------------- MODULE MCMembershipDeep --------------------------
(***************************************************************************)
(* Membership with more nodes and changes than TLC can go through: random  *)
(* behaviours, in which what keeps anything from getting done is rare.     *)
(***************************************************************************)
EXTENDS MCMembership

Rarely(k) == RandomElement(1..k) = 1

Leaderless == \A n \in Node : ~Leads(n)

Steered ==
  /\ UNCHANGED vars => Rarely(20)
  /\ (\E n \in Node : term'[n] # term[n] /\ vote'[term'[n]][n] = n)
       => Rarely(IF Leaderless THEN 3 ELSE 60)
  /\ (\E t \in Term : leaderLog'[t] # leaderLog[t] /\ leaderLog[t] # <<>>) => Rarely(3)

(* What does happen, put as if it did not.                                 *)

NeverThreeChanges ==
  \/ Cardinality({x \in Committed : x[2].kind = "config" /\ x[2].term > 0}) < 3
  \/ Cardinality({x[2].term : x \in Committed} \ {0}) < 3
  (* There are no three changes of the group that are committed, nor       *)
  (* leaders of three terms who have had something committed.              *)
=============================================================================
