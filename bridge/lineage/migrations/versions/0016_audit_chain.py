"""An audit log that is only ever added to, and chained; legal holds.

Revision: 0016, after 0014. Each row of ``audit`` gets an entry in ``audit_chain`` that holds the hash of
the row and of the entry before it. Triggers refuse to change or remove either, and note new rows in
``audit_waiting``, whichever version of the program writes them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bridge.lineage.columns import BigId, CleanText, JsonText, Uid, UtcTime

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_REFUSED = "the audit log is only ever added to"
_POSTGRESQL = (
    f"""
    CREATE FUNCTION kfbridge_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      RAISE EXCEPTION '{_REFUSED}';
    END $$
    """,
    """
    CREATE FUNCTION kfbridge_note_audit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO audit_waiting (backend, project, audit) VALUES ('', '', NEW.id);
      RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER kfbridge_audit_new AFTER INSERT ON audit
    FOR EACH ROW EXECUTE FUNCTION kfbridge_note_audit()
    """,
    *(
        f"""
    CREATE TRIGGER kfbridge_{table}_{name} BEFORE {what} ON {table}
    FOR EACH {each} EXECUTE FUNCTION kfbridge_refuse_change()
    """
        for table in ("audit", "audit_chain")
        for name, what, each in (("kept", "UPDATE OR DELETE", "ROW"), ("whole", "TRUNCATE", "STATEMENT"))
    ),
)
_SQLITE = (
    """
    CREATE TRIGGER kfbridge_audit_new AFTER INSERT ON audit
    BEGIN
      INSERT INTO audit_waiting (backend, project, audit) VALUES ('', '', NEW.id);
    END
    """,
    *(
        f"""
    CREATE TRIGGER kfbridge_{table}_{what.lower()} BEFORE {what} ON {table}
    BEGIN
      SELECT RAISE(ABORT, '{_REFUSED}');
    END
    """
        for table in ("audit", "audit_chain")
        for what in ("UPDATE", "DELETE")
    ),
)
_EARLIER = """
INSERT INTO audit_waiting (backend, project, audit)
SELECT '', '', id FROM audit WHERE true ON CONFLICT (audit) DO NOTHING
"""


def upgrade() -> None:
    """Add the columns, the tables and the triggers; rows of before wait for their entries, too."""
    for name in ("before", "after"):
        op.add_column("audit", sa.Column(name, JsonText, nullable=True))
    op.create_table(
        "audit_chain",
        *_owned(),
        sa.Column("number", BigId, primary_key=True, autoincrement=False),
        sa.Column("audit", BigId, nullable=False),
        sa.Column("previous", CleanText(), nullable=False),
        sa.Column("hash", CleanText(), nullable=False),
        sa.UniqueConstraint("audit"),
    )
    op.create_table(
        "audit_waiting",
        *_owned(),
        sa.Column("audit", BigId, primary_key=True, autoincrement=False),
    )
    op.create_table(
        "legal_holds",
        sa.Column("id", BigId, primary_key=True),
        *_owned(),
        sa.Column("run_id", Uid(), nullable=True),
        sa.Column("reason", CleanText(), nullable=False),
        sa.Column("since", UtcTime(), nullable=False),
        sa.Column("released_at", UtcTime(), nullable=True),
    )
    op.create_index("ix_legal_holds_run", "legal_holds", ["run_id"])
    op.execute(_EARLIER)
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)


def _owned() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("backend", CleanText(), nullable=False),
        sa.Column("project", CleanText(), nullable=False),
    )
