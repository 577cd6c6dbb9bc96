---------------------- MODULE HACoordinationLocalEpoch ----------------------
(***************************************************************************)
(* Each node numbers its epochs by a counter of its own instead of going   *)
(* by the log (StarRocks issue 12136).                                     *)
(***************************************************************************)
EXTENDS MCHACoordination

OwnCounter(n) == 1 + Cardinality({t \in Term : n \in winners[t]})
=============================================================================
