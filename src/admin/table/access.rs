//! Routes about administrators: their public keys, their sessions, and what they did.

use http::Method;

use super::{Access, Act, NOTHING, Spec};
use crate::admin::read::Takes;
use crate::admin::shape::{
    CHALLENGE, CURSOR, FINGERPRINT, Field, MOMENT, PERIOD, SESSION, SIGNATURE, TOKEN, Type, may, must, null,
};

const ADMIN: Type = Type::Named(
    "Admin",
    &Type::Struct(&[&[
        must(
            "fingerprint",
            Type::Form(&FINGERPRINT),
            "The fingerprint of the public key, as `ssh-keygen -lf` prints it.",
        ),
        must("name", Type::Text(100), "The administrator's name."),
        must("created_at", Type::Form(&MOMENT), "When the key was registered."),
        must("created_by", Type::Text(200), "By whom."),
    ]]),
);
static ADMINS: Type = Type::Struct(&[&[must("admins", Type::List(&ADMIN, 100_000), "All of them.")]]);
static FINGERPRINTS: [Field; 1] =
    [must("fingerprint", Type::Form(&FINGERPRINT), "The fingerprint of a public key, as `ssh-keygen -lf` prints it.")];
static REMOVED: Type = Type::Struct(&[&[
    must("fingerprint", Type::Form(&FINGERPRINT), "Who was removed."),
    must("sessions_ended", Type::Number, "How many sessions ended with it."),
]]);
static CHALLENGED: Type = Type::Struct(&[&[
    must("challenge", Type::Form(&CHALLENGE), "What is to be signed, as `feathergate-login-v1`, a line feed and this."),
    must("expires_at", Type::Form(&MOMENT), "Until when."),
]]);
static LOGIN: [Field; 4] = [
    must("fingerprint", Type::Form(&FINGERPRINT), "Who logs in."),
    must(
        "challenge",
        Type::Form(&CHALLENGE),
        "What `/admin/login/challenge` gave. It counts once, whatever comes of it.",
    ),
    must(
        "signature",
        Type::Form(&SIGNATURE),
        "The Ed25519 signature of `feathergate-login-v1`, a line feed and the challenge, in base 64.",
    ),
    may("duration", Type::Form(&PERIOD), "How long the session lasts, `15m` to `1h`; `30m` where it is not said."),
];
static LOGGED_IN: Type = Type::Struct(&[&[
    must(
        "token",
        Type::Text(64),
        "The session's token, to be sent as `Authorization: Bearer …`. It is told this once.",
    ),
    must("session", Type::Form(&SESSION), "The session's id."),
    must("expires_at", Type::Form(&MOMENT), "Until when it counts."),
]]);
static ENDED: Type = Type::Struct(&[&[must("session", Type::Form(&SESSION), "The session that has ended.")]]);
static SESSIONS: Type = Type::Struct(&[&[must(
    "sessions",
    Type::List(
        &Type::Struct(&[&[
            must("session", Type::Form(&SESSION), "Its id."),
            must("fingerprint", Type::Form(&FINGERPRINT), "Whose it is."),
            must("created_at", Type::Form(&MOMENT), "When it began."),
            must("expires_at", Type::Form(&MOMENT), "When it ends."),
        ]]),
        100_000,
    ),
    "All that have not ended.",
)]]);
static AUDIT: Type = Type::Struct(&[&[
    must(
        "audit",
        Type::List(
            &Type::Struct(&[&[
                must("id", Type::Form(&CURSOR), "The entry's id."),
                must("time", Type::Form(&MOMENT), "When."),
                must("actor", Type::Text(200), "Who: `master key`, or an administrator's fingerprint."),
                must("action", Type::Text(100), "What: `key.create`."),
                must("subject", Type::Text(300), "On what: a kind and an id."),
                null("before", Type::Any, "What was there before, as it is stored: amounts in units of 1e-12 dollars."),
                null("after", Type::Any, "What is there since."),
            ]]),
            1000,
        ),
        "The newest first.",
    ),
    null("next", Type::Form(&CURSOR), "For `before`, to go on; null where this was the last."),
]]);

const fn post(
    (path, access): (&'static str, Access),
    summary: &'static str,
    body: Takes,
    reply: &'static Type,
    act: Act,
) -> Spec {
    Spec { method: Method::POST, path, access, tag: TAG, summary, query: NOTHING, body, reply, act }
}

const fn list(path: &'static str, summary: &'static str, reply: &'static Type, act: Act) -> Spec {
    let access = Access::Admin;
    Spec { method: Method::GET, path, access, tag: TAG, summary, query: NOTHING, body: NOTHING, reply, act }
}

const TAG: &str = "administrators";

pub(super) static ROUTES: &[Spec] = &[
    post(
        ("/admin/admins", Access::Master),
        "Registers an administrator's public key.",
        Takes {
            fields: &[&[
                must("name", Type::Text(100), "The administrator's name, which no other may have."),
                must(
                    "public_key",
                    Type::Text(1000),
                    "A line such as `ssh-ed25519 AAAA… name`, or the 32 bytes in base 64.",
                ),
            ]],
            refused: &[],
        },
        &ADMIN,
        |admin, context| Box::pin(admin.admin_add(context)),
    ),
    list("/admin/admins", "Lists administrators.", &ADMINS, |admin, context| Box::pin(admin.admin_list(context))),
    post(
        ("/admin/admins/delete", Access::Master),
        "Removes an administrator and ends his sessions.",
        Takes { fields: &[&FINGERPRINTS], refused: &[] },
        &REMOVED,
        |admin, context| Box::pin(admin.admin_remove(context)),
    ),
    post(
        ("/admin/login/challenge", Access::Public),
        "Begins a login: gives something to sign, whoever asks.",
        Takes { fields: &[&FINGERPRINTS], refused: &[] },
        &CHALLENGED,
        |admin, context| Box::pin(admin.challenge(context)),
    ),
    post(
        ("/admin/login", Access::Public),
        "Logs an administrator in, who has signed the challenge.",
        Takes { fields: &[&LOGIN], refused: &[] },
        &LOGGED_IN,
        |admin, context| Box::pin(admin.login(context)),
    ),
    post(
        ("/admin/logout", Access::Public),
        "Ends the session of this token.",
        Takes { fields: &[&[must("token", Type::Form(&TOKEN), "The session's token.")]], refused: &[] },
        &ENDED,
        |admin, context| Box::pin(admin.logout(context)),
    ),
    list("/admin/sessions", "Lists sessions.", &SESSIONS, |admin, context| Box::pin(admin.session_list(context))),
    post(
        ("/admin/sessions/delete", Access::Admin),
        "Ends a session.",
        Takes { fields: &[&[must("session", Type::Form(&SESSION), "The session's id.")]], refused: &[] },
        &ENDED,
        |admin, context| Box::pin(admin.session_remove(context)),
    ),
    Spec {
        method: Method::GET,
        path: "/admin/audit",
        access: Access::Admin,
        tag: TAG,
        summary: "What administrators did, the newest first.",
        query: Takes {
            fields: &[&[
                may("before", Type::Form(&CURSOR), "The `next` of the page before."),
                may("limit", Type::Count(1, 1000), "How many; 100 where it is not said."),
            ]],
            refused: &[],
        },
        body: NOTHING,
        reply: &AUDIT,
        act: |admin, context| Box::pin(admin.audit(context)),
    },
];
