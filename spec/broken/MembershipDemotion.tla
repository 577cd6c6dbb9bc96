-------------------------- MODULE MembershipDemotion ------------------------
(***************************************************************************)
(* A voter is made a learner.  If it has the entry that says so and most   *)
(* of the voters have not, it does not stand for election, and they cannot *)
(* do without its vote.  (Were it sent that entry as those without a vote  *)
(* are sent all others, when it is committed, that could not happen.)      *)
(***************************************************************************)
EXTENDS MembershipLearnerAhead

Demote(n, m) ==
  /\ Leads(n)
  /\ m \in Voters(Current(n))
  /\ MayRemove(n, m)
  /\ LET c == [Current(n) EXCEPT ![m].part = "learner"]
     IN  GoesOn(term[n], c) /\ Propose(n, c)
=============================================================================
