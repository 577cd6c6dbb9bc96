----------------------- MODULE HACoordinationNoRecord -----------------------
(***************************************************************************)
(* A leader opens its term with an ordinary write.  Nothing shows in the   *)
(* log where an epoch begins.                                              *)
(***************************************************************************)
EXTENDS MCHACoordination

NoRecord(t, e, n) == JournalWrite(t)
=============================================================================
