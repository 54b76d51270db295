"""What Alembic runs. Connection, transaction and lock are the caller's: `relayd.adapters.database.upgrade`."""

from alembic import context

from relayd.adapters.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can do it too, once BEGIN is sent by hand; Alembic assumes that nobody does.
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
