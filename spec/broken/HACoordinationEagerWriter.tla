--------------------- MODULE HACoordinationEagerWriter ----------------------
(***************************************************************************)
(* A leader writes the journal before it has become LEADER.                *)
(***************************************************************************)
EXTENDS MCHACoordination

EagerMayWrite(n) == role[n] = "leader"
=============================================================================
