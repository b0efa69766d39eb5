/* Deliberate faults. Each is one -DMUTANT=name, and the check must find each. docs/model.md has the table. */
#define NONE                  0
#define VOTE_NOT_STORED       1  /* a vote is told before it is stored, and a crash comes between */
#define ACCEPT_NOT_STORED     2  /* the same with an accepted record */
#define NOT_CARRIED_FORWARD   3  /* a new leader founds although a voter had accepted a record */
#define CARRIES_LOWEST        4  /* it carries the accepted record of the lowest term, not of the highest */
#define LEASE_NOT_HONOURED    5  /* a voter votes although a lease that it granted still runs */
#define RESTART_FREES_LEASE   6  /* a voter that restarts forgets the lease it granted */
#define LEASE_FROM_ANSWER     7  /* the leader counts its lease from the answer, not from the question */
#define VOTES_TWICE           8  /* a peer votes again in a term in which it voted */
#define MAJORITY_OFF_BY_ONE   9  /* half of a set is a majority */
#define ACCEPTS_OLD_TERM      10 /* a peer accepts in a term below one it promised */
#define COMMITS_ACROSS_TERMS  11 /* acceptances of different terms are counted together */
#define SIGNS_OFF_ACCEPTED    12 /* who accepted a record signs its set off all the same */
#define NOT_ALL_BOUND         13 /* a set is constituted when a majority of it is bound */
#define ACTS_SIGNED_OFF       14 /* a peer votes and accepts under a set that it signed off */
#define RELEASE_TOO_EARLY     15 /* a set is left while a majority of it has not signed it off */
#define FOUNDS_WITHOUT_LEASE  16 /* init is started and the record proposed by a leader whose lease is over */
#define UNDOES_PROPOSED       17 /* a founder that loses its lease undoes what it had proposed */
#define SIGN_OFF_KEEPS_INIT   18 /* a leader that signs its set off lets init go on */
#define GRANT_OF_ANY_SET      19 /* a lease granted under a former set counts under this one */
#define KEEPS_BY_BALLOT       20 /* a founder keeps a proposed record only while its ballot still names it */
#define JOINS_PROPOSED        21 /* a peer joins the cluster of a record that it accepted, before the commit */
#define SIGN_OFF_NOT_STORED   23 /* a floor is told before it is stored */
#define SIGNED_OFF_FOR_GOOD   24 /* progress: a released peer does not settle anew */
#define NEVER_OBJECTS         25 /* progress: nobody signs off a set because of another one that counts on it */
#define KEEPS_DEAD_SET        26 /* progress: a set that a member signed off is not signed off by the others */
#define WAITS_FOR_SIGNED_OFF  27 /* progress: a set waits for a fit member that signed it off */
#ifndef MUTANT
#define MUTANT NONE
#endif
