------------------------------ MODULE Snapshot ------------------------------
(***************************************************************************)
(* Images: a node writes down what its log amounts to, and gives up the    *)
(* log.  The image then takes the place of the entries, on its own disk    *)
(* and on those of others who are sent it instead of entries.              *)
(*                                                                         *)
(* An entry can be given up for another one; an image cannot.  So it must  *)
(* contain nothing but what is committed.  That is all this module says,   *)
(* of the group of Membership, and image[n] is here the entries that the   *)
(* image of n stands for.                                                  *)
(*                                                                         *)
(* Left out, on purpose: that a node keeps in its log only what comes      *)
(* after its image.  Here it keeps all of it, so that the two can be       *)
(* compared.                                                               *)
(***************************************************************************)
EXTENDS Membership

VARIABLE image    \* image[n] is what n has an image of

-----------------------------------------------------------------------------
(* The guard.  spec/broken/ overrides it.                                  *)

MayImage(t, k) == k <= commit[t]
  (* An image made in t contains only what its leader knows to be          *)
  (* committed.                                                            *)

-----------------------------------------------------------------------------

ImageInit == Init /\ image = [n \in Node |-> <<>>]

Image(n) == /\ Leads(n)
            /\ \E k \in (Len(image[n]) + 1)..Len(log[n]) :
                 /\ MayImage(term[n], k)
                 /\ image' = [image EXCEPT ![n] = Prefix(log[n], k)]
            /\ UNCHANGED vars
  (* The leader makes an image of the first k entries on its disk.         *)

Follows(m, t) == \/ term[m] < t
                 \/ term[m] = t /\ vote[t][m] # m
  (* m neither leads nor stands in t or in a later term.                   *)

Install(n, m) == /\ Leads(n)
                 /\ Follows(m, term[n])
                 /\ Len(image[n]) > Len(image[m])
                 /\ MaySend(term[n], Len(image[n]), m)
                 /\ image' = [image EXCEPT ![m] = image[n]]
                 /\ log' = [log EXCEPT ![m] = IF IsPrefix(image[n], @) THEN @ ELSE image[n]]
                 /\ term' = [term EXCEPT ![m] = term[n]]
                 /\ UNCHANGED <<replication, election>>
  (* m takes over the image of its leader n, in place of a log that has    *)
  (* not as much or contradicts it.  As with entries, a node is not sent   *)
  (* its own removal.                                                      *)

ImageNext == \/ Next /\ UNCHANGED image
             \/ \E n \in Node : Image(n)
             \/ \E n \in Node, m \in Node : Install(n, m)

ImageSpec == ImageInit /\ [][ImageNext]_<<vars, image>>

-----------------------------------------------------------------------------

ImagesAgree ==
  \A n \in Node, x \in Committed : x[1] <= Len(image[n]) => image[n][x[1]] = x[2]
  (* No image contradicts what is committed.                               *)

ImagesKept == \A n \in Node : IsPrefix(image[n], log[n])
  (* No node has to give up what it has an image of.                       *)

THEOREM ImageSpec => [](Inv /\ ImagesAgree /\ ImagesKept)

ImagesGrow == [][\A n \in Node : IsPrefix(image[n], image'[n])]_<<vars, image>>
  (* No image is given up for a smaller one.                               *)

THEOREM ImageSpec => /\ CommittedStays
                     /\ TermsAdvance
                     /\ ImagesGrow
=============================================================================
