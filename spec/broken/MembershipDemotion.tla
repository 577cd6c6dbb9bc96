-------------------------- MODULE MembershipDemotion ------------------------
(***************************************************************************)
(* A voter is made a learner.  If it has the entry that says so and most   *)
(* of the voters have not, it does not stand for election, and they cannot *)
(* do without its vote.                                                    *)
(***************************************************************************)
EXTENDS MCMembership

Demote(n, m) ==
  /\ Leads(n)
  /\ m \in Voters(Current(n))
  /\ MayRemove(n, m)
  /\ LET c == [Current(n) EXCEPT ![m].part = "learner"]
     IN  GoesOn(term[n], c) /\ Propose(n, c)
=============================================================================
