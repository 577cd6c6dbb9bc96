------------------------------ MODULE MCImages ------------------------------
(***************************************************************************)
(* Images with the bounds of MCAccepted.                                   *)
(***************************************************************************)
EXTENDS MCAccepted, Images

(* n1 has no image.                                                        *)

ImagesOfOthers == Succession /\ image[n1] = <<>>

(* n3 succeeds n1, and nobody but n2 ever ends.                            *)

Restarts == Succession /\ type[n1] # "DOWN" /\ type[n3] # "DOWN"
=============================================================================
