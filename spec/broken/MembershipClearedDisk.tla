------------------------ MODULE MembershipClearedDisk -----------------------
(***************************************************************************)
(* A node loses its disk and starts again on an empty one, under its old   *)
(* name.  It votes for a node that has not what it said it had stored.     *)
(***************************************************************************)
EXTENDS MCMembership

NoTerm(n) == 0
NoLog(n) == <<>>
NoVotes(n) == [t \in Term |-> [vote[t] EXCEPT ![n] = None]]
=============================================================================
