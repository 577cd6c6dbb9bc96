----------------------- MODULE HACoordinationEarlyAck -----------------------
(***************************************************************************)
(* A LEADER tells a client that its write is committed as soon as it has   *)
(* appended it.                                                            *)
(***************************************************************************)
EXTENDS MCHACoordination

AppendedMayAck(t, i) == /\ leaderLog[t][i].term = t
                        /\ ~IsEpochRecord(leaderLog[t][i])
=============================================================================
