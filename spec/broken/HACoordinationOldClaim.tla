----------------------- MODULE HACoordinationOldClaim -----------------------
(***************************************************************************)
(* A node that is elected again becomes LEADER when an epoch record of its *)
(* own is committed, though it is that of its earlier leadership.          *)
(***************************************************************************)
EXTENDS MCHACoordination

SomeRecordCommitted(n) == \E i \in 1..commit[term[n]] : leaderLog[term[n]][i].owner = n
=============================================================================
