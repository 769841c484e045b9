"""Drivers that pass a token as the password: drivers.py DRIVER FOLDER PORT DATABASE LOGIN TOKEN ROLE prints "fine", or fails."""
import sys

DRIVER, FOLDER, PORT, DATABASE, LOGIN, TOKEN, ROLE = sys.argv[1:]
ASK = "SELECT current_user::text, scope.jwt_subject(), count(*)::text FROM orders WHERE id > "
WANTED = [ROLE, "ann", "2"]


def by_cursor(connection, parameter):
    cursor = connection.cursor()
    cursor.execute("SET TIME ZONE 'Asia/Tokyo'")
    connection.commit()
    for end in [connection.commit, connection.rollback] * 6:
        cursor.execute(ASK + parameter, (0,))
        row = cursor.fetchone()
        assert list(row) == WANTED, row
        end()
    connection.close()


def psycopg():
    import psycopg

    by_cursor(psycopg.connect(host=FOLDER, port=PORT, dbname=DATABASE, user=LOGIN, password=TOKEN), "%s")


def pg8000():
    import pg8000.dbapi

    socket = f"{FOLDER}/.s.PGSQL.{PORT}"
    by_cursor(pg8000.dbapi.connect(user=LOGIN, password=TOKEN, database=DATABASE, unix_sock=socket), "%s")


def asyncpg():
    import asyncio

    import asyncpg

    async def work():
        # A password can be a function that gets a new token for each connection.
        pool = await asyncpg.create_pool(
            host=FOLDER, port=int(PORT), database=DATABASE, user=LOGIN, password=lambda: TOKEN, min_size=1, max_size=1
        )
        for _ in range(6):
            async with pool.acquire() as connection:
                row = await connection.fetchrow(ASK + "$1", 0)
                assert list(row) == WANTED, row
        await pool.close()

    asyncio.run(work())


{"psycopg": psycopg, "pg8000": pg8000, "asyncpg": asyncpg}[DRIVER]()
print("fine")
