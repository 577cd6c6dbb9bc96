--------------------- MODULE HACoordinationClearedDisk ----------------------
(***************************************************************************)
(* A node whose data directory has been cleared comes back under its old   *)
(* name.  It has forgotten its term, its votes and its log, and is counted *)
(* as before.                                                              *)
(***************************************************************************)
EXTENDS MCHACoordination

NoTerm(n) == 0
NoLog(n) == <<>>
NoVotes(n) == [t \in Term |-> [vote[t] EXCEPT ![n] = None]]

OnlyFollowers ==
  /\ StartsAtOnce
  /\ \A n \in Node : IsUp(n) /\ ~IsUp(n)' => log[n] # <<>> /\ role[n] # "leader"
  (* Other crashes are not needed to show the harm.                        *)
=============================================================================
