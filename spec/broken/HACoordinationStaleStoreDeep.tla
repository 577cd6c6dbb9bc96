-------------------- MODULE HACoordinationStaleStoreDeep --------------------
(* HACoordinationStaleStore with random behaviours of five nodes.          *)
EXTENDS MCHACoordinationDeep, HACoordinationStaleStore
=============================================================================
