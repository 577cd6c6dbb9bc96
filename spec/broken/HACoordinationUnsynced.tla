----------------------- MODULE HACoordinationUnsynced -----------------------
(***************************************************************************)
(* A node acknowledges entries before its disk has synced.  A crash takes  *)
(* the last one, and a quorum that had it is none any more.                *)
(***************************************************************************)
EXTENDS MCHACoordination

UnsyncedLog(n) == Prefix(log[n], IF log[n] = <<>> THEN 0 ELSE Len(log[n]) - 1)
=============================================================================
