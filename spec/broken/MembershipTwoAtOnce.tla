------------------------- MODULE MembershipTwoAtOnce ------------------------
(***************************************************************************)
(* One configuration removes two nodes.  A majority of those who stay and  *)
(* one of those who were there need not meet.                              *)
(***************************************************************************)
EXTENDS MCMembership

RemoveTwo(n, m) ==
  /\ Leads(n)
  /\ \E k \in Node \ {n, m} :
       /\ {k, m} \subseteq Members(Current(n)) \ {n}
       /\ LET c == [Current(n) EXCEPT ![m] = Outside, ![k] = Outside]
          IN  GoesOn(term[n], c) /\ Propose(n, c)
=============================================================================
