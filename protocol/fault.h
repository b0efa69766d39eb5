/*
 * Deliberate faults: one rule each, broken the way a programmer's slip would break it. They exist only in the
 * copy of the core that the simulator is tested with (KPEER_TEST_FAULTS), one at a time. Everywhere else
 * FAULT() is the constant false and leaves no trace in the object code, which tests/check sees to.
 *
 * X(NAME, word, invariant of docs/formation.md that is in danger, what is done wrong)
 */
#ifndef KPEER_FAULT_H
#define KPEER_FAULT_H

#include <stdbool.h>

#define FAULTS_OF_PROMISES(X)                                                                                \
    X(TOLD_BEFORE_STORED, "told-before-stored", 4, "a promise is told first and stored after that")          \
    X(VOTE_NOT_STORED, "vote-not-stored", 4, "a vote is told and not stored")                                \
    X(ACCEPTANCE_NOT_STORED, "acceptance-not-stored", 4, "an acceptance is told and not stored")             \
    X(PROMISES_FORGOTTEN, "promises-forgotten", 4, "a start takes no account of the stored ballot")

#define FAULTS_OF_DECIDING(X)                                                                                \
    X(RECORD_NOT_CARRIED, "record-not-carried", 1, "a leader ignores what its voters have accepted")         \
    X(OLDER_TERM_ACCEPTED, "older-term-accepted", 1,                                                         \
      "a proposal of an older term than promised is accepted")                                               \
    X(VOTES_TWICE, "votes-twice", 1, "a second vote is given in the same term")                              \
    X(TERM_NOT_RAISED, "term-not-raised", 1, "a candidate stands in the term that it knows of")              \
    X(HALF_ELECTS, "half-elects", 1, "one vote less than a majority elects")                                 \
    X(HALF_COMMITS, "half-commits", 2, "one acceptance less than a majority commits")

#define FAULTS_OF_SETS(X)                                                                                    \
    X(CONSTITUTED_UNHEARD, "constituted-unheard", 1, "a member whose ballot is not known counts as bound")   \
    X(EXPECT_IGNORED, "expect-ignored", 1, "fewer hosts than expected make a set")                           \
    X(SETTLE_IGNORED, "settle-ignored", 1, "a set is proposed at first sight, without the settle time")      \
    X(ACCEPTED_SIGNS_OFF, "accepted-signs-off", 1, "who has accepted a record signs its set off")            \
    X(SIGNED_OFF_ACTS, "signed-off-acts", 1, "who signed a set off goes on acting under it")                 \
    X(RELEASED_EARLY, "released-early", 1, "a set is left while a majority of it could still decide")

#define FAULTS_OF_LEASES(X)                                                                                  \
    X(LEASE_IGNORED, "lease-ignored", 3, "a leader goes on when its lease is over")                          \
    X(LEASE_NOT_HONOURED, "lease-not-honoured", 3, "a voter votes for another while its lease runs")         \
    X(LEASE_FORGOTTEN, "lease-forgotten", 3, "a voter that restarts forgets the lease that it granted")      \
    X(HALF_RENEWS, "half-renews", 3, "one grant less than a majority renews a lease")

#define FAULTS_OF_FOUNDING(X)                                                                                \
    X(INIT_NOT_STOPPED, "init-not-stopped", 3, "the lease is lost, and what founds is not stopped")          \
    X(HALF_KEPT, "half-kept", 3, "a start keeps the half of a control plane that nobody decided")            \
    X(FOUNDING_NOT_STORED, "founding-not-stored", 2, "that an init begins is not stored before it does")     \
    X(OTHER_FOUNDING_KEPT, "other-founding-kept", 2, "another's record is committed, ours is not undone")

#define FAULTS_OF_RECORDS(X)                                                                                 \
    X(RECORD_NOT_STORED, "record-not-stored", 5, "a committed record is used and not stored")                \
    X(ELECTS_AFTER_COMMIT, "elects-after-commit", 5, "formation goes on after the commit")                   \
    X(JOINED_NOT_STORED, "joined-not-stored", 2, "that this host has joined is not stored")                  \
    X(RECORD_UNVERIFIED, "record-unverified", 2, "a record is taken without a look at its signatures")

#define FAULTS_OF_TICKETS(X)                                                                                 \
    X(TICKET_TO_ANOTHER, "ticket-to-another", 6, "a ticket is sealed to another member than its joiner")     \
    X(TICKET_SEED_FIXED, "ticket-seed-fixed", 6, "tickets are sealed with a key that anybody can make")      \
    X(TICKET_KEPT, "ticket-kept", 6, "a ticket is used again")                                               \
    X(TICKET_AGE_IGNORED, "ticket-age-ignored", 6, "a ticket is opened after it has expired")                \
    X(TOKEN_NOT_REVOKED, "token-not-revoked", 6, "the token of a used ticket is not revoked")                \
    X(GRANT_FROM_ANYBODY, "grant-from-anybody", 6, "grants are taken from others than the master")

#define FAULTS_OF_MESSAGES(X)                                                                                \
    X(REPLAY_TAKEN, "replay-taken", 7, "a message is taken a second time")                                   \
    X(BEACON_REPLAY_TAKEN, "beacon-replay-taken", 7, "a beacon is taken a second time")                      \
    X(EARLIER_START_HEARD, "earlier-start-heard", 7, "what a peer said before its restart is taken")         \
    X(INSTANCE_IGNORED, "instance-ignored", 7, "two instances with one start number are not told apart")     \
    X(OLDER_STATEMENT_TAKEN, "older-statement-taken", 7, "an older statement replaces a newer one")          \
    X(SIGNATURE_IGNORED, "signature-ignored", 7, "a statement is taken without a look at its signature")     \
    X(EARLIER_REQUEST_SERVED, "earlier-request-served", 7,                                                   \
      "what was asked of the master before its restart is served")                                           \
    X(SENDER_IGNORED, "sender-ignored", 7, "a message may name another sender than its link's peer")         \
    X(CLONE_UNNOTICED, "clone-unnoticed", 7, "another host with our identity is not noticed")

#define FAULTS_OF_PROGRESS(X)                                                                                \
    X(NEVER_YIELDS, "never-yields", 8, "a candidacy without a majority never ends")                          \
    X(NEVER_RELEASED, "never-released", 8, "a set that can never decide is not left")

#define FAULTS(X)                                                                                            \
    FAULTS_OF_PROMISES(X)                                                                                    \
    FAULTS_OF_DECIDING(X)                                                                                    \
    FAULTS_OF_SETS(X)                                                                                        \
    FAULTS_OF_LEASES(X)                                                                                      \
    FAULTS_OF_FOUNDING(X)                                                                                    \
    FAULTS_OF_RECORDS(X)                                                                                     \
    FAULTS_OF_TICKETS(X)                                                                                     \
    FAULTS_OF_MESSAGES(X)                                                                                    \
    FAULTS_OF_PROGRESS(X)

#ifdef KPEER_TEST_FAULTS

enum fault {
    FAULT_NONE = 0,
#define FAULT_ENTRY(name, word, invariant, rule) FAULT_##name,
    FAULTS(FAULT_ENTRY)
#undef FAULT_ENTRY
};

extern enum fault fault_on; /* tests/sim/fault.c */

#define FAULT(name) (fault_on == FAULT_##name)
#else
#define FAULT(name) false
#endif

#endif
