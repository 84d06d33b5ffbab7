"""What queries over a million runs need: indexes, words to search, labels and metrics in order of time.

Revision: 0004, after 0003. ``run_words`` is a search index (a table of tsvectors on PostgreSQL, FTS5 on
SQLite) and ``run_labels`` a copy of ``runs.labels``; triggers keep both, whoever writes to ``runs``.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bridge.lineage.columns import BigId, CleanText, UtcTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_WORDS_POSTGRESQL = (
    """
    CREATE TABLE run_words (
      run bigint PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
      words tsvector NOT NULL
    )
    """,
    "CREATE INDEX ix_run_words ON run_words USING gin (words)",
    """
    CREATE FUNCTION kfbridge_keep_words() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO run_words (run, words)
      VALUES (NEW.id, array_to_tsvector(array_remove(string_to_array(NEW.words, ' '), '')))
      ON CONFLICT (run) DO UPDATE SET words = excluded.words;
      RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER kfbridge_words_new AFTER INSERT ON runs
    FOR EACH ROW WHEN (NEW.words <> '') EXECUTE FUNCTION kfbridge_keep_words()
    """,
    """
    CREATE TRIGGER kfbridge_words_changed AFTER UPDATE OF words ON runs
    FOR EACH ROW WHEN (NEW.words IS DISTINCT FROM OLD.words AND NEW.words <> '')
    EXECUTE FUNCTION kfbridge_keep_words()
    """,
)
_LABELS_POSTGRESQL = (
    """
    CREATE FUNCTION kfbridge_keep_labels() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF TG_OP = 'UPDATE' THEN
        DELETE FROM run_labels WHERE run = NEW.id;
      END IF;
      INSERT INTO run_labels (backend, project, run, name, value, created_at)
      SELECT NEW.backend, NEW.project, NEW.id, left(one.key, 255), left(coalesce(one.value, ''), 255),
             NEW.created_at
      FROM jsonb_each_text(NEW.labels) AS one
      ON CONFLICT (run, name) DO NOTHING;
      RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER kfbridge_labels_new AFTER INSERT ON runs
    FOR EACH ROW WHEN (NEW.labels <> '{}'::jsonb) EXECUTE FUNCTION kfbridge_keep_labels()
    """,
    """
    CREATE TRIGGER kfbridge_labels_changed AFTER UPDATE OF labels ON runs
    FOR EACH ROW WHEN (NEW.labels IS DISTINCT FROM OLD.labels) EXECUTE FUNCTION kfbridge_keep_labels()
    """,
    """
    INSERT INTO run_labels (backend, project, run, name, value, created_at)
    SELECT r.backend, r.project, r.id, left(one.key, 255), left(coalesce(one.value, ''), 255), r.created_at
    FROM runs AS r, jsonb_each_text(r.labels) AS one
    ON CONFLICT (run, name) DO NOTHING
    """,
)
# The index holds no text of its own: FTS5 reads a row's old words from what the triggers hand it.
_WORDS_SQLITE = (
    """
    CREATE VIRTUAL TABLE run_words USING fts5(
      words, content='runs', content_rowid='id', tokenize="unicode61 remove_diacritics 0",
      detail=none, columnsize=0
    )
    """,
    """
    CREATE TRIGGER kfbridge_words_new AFTER INSERT ON runs WHEN NEW.words <> ''
    BEGIN
      INSERT INTO run_words (rowid, words) VALUES (NEW.id, NEW.words);
    END
    """,
    """
    CREATE TRIGGER kfbridge_words_changed AFTER UPDATE OF words ON runs WHEN NEW.words <> OLD.words
    BEGIN
      INSERT INTO run_words (run_words, rowid, words)
      SELECT 'delete', OLD.id, OLD.words WHERE OLD.words <> '';
      INSERT INTO run_words (rowid, words) SELECT NEW.id, NEW.words WHERE NEW.words <> '';
    END
    """,
    """
    CREATE TRIGGER kfbridge_words_gone AFTER DELETE ON runs WHEN OLD.words <> ''
    BEGIN
      INSERT INTO run_words (run_words, rowid, words) VALUES ('delete', OLD.id, OLD.words);
    END
    """,
)
_LABELS_SQLITE = (
    """
    CREATE TRIGGER kfbridge_labels_new AFTER INSERT ON runs WHEN NEW.labels <> '{}'
    BEGIN
      INSERT INTO run_labels (backend, project, run, name, value, created_at)
      SELECT NEW.backend, NEW.project, NEW.id, substr(one.key, 1, 255),
             substr(CAST(coalesce(one.value, '') AS text), 1, 255), NEW.created_at
      FROM json_each(NEW.labels) AS one WHERE true
      ON CONFLICT (run, name) DO NOTHING;
    END
    """,
    """
    CREATE TRIGGER kfbridge_labels_changed AFTER UPDATE OF labels ON runs WHEN NEW.labels <> OLD.labels
    BEGIN
      DELETE FROM run_labels WHERE run = NEW.id;
      INSERT INTO run_labels (backend, project, run, name, value, created_at)
      SELECT NEW.backend, NEW.project, NEW.id, substr(one.key, 1, 255),
             substr(CAST(coalesce(one.value, '') AS text), 1, 255), NEW.created_at
      FROM json_each(NEW.labels) AS one WHERE true
      ON CONFLICT (run, name) DO NOTHING;
    END
    """,
    """
    INSERT INTO run_labels (backend, project, run, name, value, created_at)
    SELECT r.backend, r.project, r.id, substr(one.key, 1, 255),
           substr(CAST(coalesce(one.value, '') AS text), 1, 255), r.created_at
    FROM runs AS r, json_each(r.labels) AS one WHERE true
    ON CONFLICT (run, name) DO NOTHING
    """,
)


def upgrade() -> None:
    """Add columns, indexes, the table of labels, and the search index with its triggers."""
    connection = op.get_bind()
    postgresql = connection.dialect.name == "postgresql"
    op.add_column("runs", sa.Column("words", CleanText(), nullable=False, server_default=sa.text("''")))
    op.add_column("metrics", sa.Column("created_at", UtcTime(), nullable=True))
    _labels()
    words, labels = (_WORDS_POSTGRESQL, _LABELS_POSTGRESQL) if postgresql else (_WORDS_SQLITE, _LABELS_SQLITE)
    for statement in (*words, *labels, *_fill(postgresql)):
        connection.exec_driver_sql(statement)
    _indexes()


def _labels() -> None:
    op.create_table(
        "run_labels",
        sa.Column("id", BigId, primary_key=True),
        sa.Column("backend", CleanText(), nullable=False),
        sa.Column("project", CleanText(), nullable=False),
        sa.Column("run", BigId, sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", CleanText(), nullable=False),
        sa.Column("value", CleanText(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.UniqueConstraint("run", "name"),
    )
    op.create_index("ix_run_labels_newest", "run_labels", ["name", "value", "created_at", "run"])


def _fill(postgresql: bool) -> tuple[str, str]:
    """What is stored already gets its words from its names alone, and its metrics their run's time."""
    names = "coalesce(pipeline_name, '') || ' ' || coalesce(display_name, '') || ' ' || coalesce(dag_id, '')"
    if postgresql:
        plain = f"regexp_replace(lower({names}), '[^[:alnum:]]+', ' ', 'g')"
    else:
        plain = f"lower({names})"
        for sign in "-_./:,;()[]{}=#@+":
            plain = f"replace({plain}, '{sign}', ' ')"
    return (
        f"UPDATE runs SET words = ' ' || trim({plain})",  # noqa: S608
        "UPDATE metrics SET created_at = (SELECT r.created_at FROM runs AS r WHERE r.id = metrics.run)",
    )


def _indexes() -> None:
    newest = ("created_at", "run_id")
    op.create_index("ix_runs_project_state_created", "runs", ["project", "shown_state", *newest])
    for name, column in (("dag", "dag_id"), ("experiment", "experiment")):
        where = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"ix_runs_{name}_created",
            "runs",
            [column, *newest],
            postgresql_where=where,
            sqlite_where=where,
        )
    ended = sa.text("finished_at IS NOT NULL")
    op.create_index(
        "ix_runs_finished", "runs", ["finished_at", "run_id"], postgresql_where=ended, sqlite_where=ended
    )
    # "metric >= x, newest first" where many runs are so; ix_metrics_value serves where few are.
    op.create_index("ix_metrics_newest", "metrics", ["key", "created_at", "run", "value"])
