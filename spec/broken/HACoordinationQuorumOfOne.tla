--------------------- MODULE HACoordinationQuorumOfOne ----------------------
(***************************************************************************)
(* A leader takes for committed what is on its own disk.                   *)
(***************************************************************************)
EXTENDS MCHACoordination

OnOwnDisk(t, i) ==
  \E k \in i..Len(leaderLog[t]) :
    /\ leaderLog[t][k].term = t
    /\ \E n \in winners[t] : acked[t][n] >= k
=============================================================================
