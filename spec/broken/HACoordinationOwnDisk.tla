----------------------- MODULE HACoordinationOwnDisk ------------------------
(***************************************************************************)
(* The LEADER acknowledges a write that is on its own disk, without        *)
(* waiting for anybody else's.                                             *)
(***************************************************************************)
EXTENDS MCHACoordination

StoredMayAck(t, i) == /\ \E n \in winners[t] : i <= acked[t][n]
                      /\ leaderLog[t][i].term = t
                      /\ ~IsEpochRecord(leaderLog[t][i])
=============================================================================
