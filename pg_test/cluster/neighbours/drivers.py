"""Three drivers, each as an application uses it behind an authenticator: set up once, then a transaction for each token.

drivers.py DRIVER FOLDER PORT DATABASE LOGIN TOKEN ROLE: prints "fine", or fails.
"""
import sys

DRIVER, FOLDER, PORT, DATABASE, LOGIN, TOKEN, ROLE = sys.argv[1:]
SETTINGS = ["TimeZone", "statement_timeout", "application_name", "search_path", "extra_float_digits"]
WANTED = ["Asia/Tokyo", "1min", "svc", "public", "3"]
SET_UP = [
    "SET TIME ZONE 'Asia/Tokyo'",
    "SET statement_timeout = '1min'",
    "SET application_name = 'svc'",
    "SET search_path = public",
    "SET extra_float_digits = 3",
]
SHOWN = "SELECT " + ", ".join(f"current_setting('{name}')" for name in SETTINGS)
LEAVE = ["SET TIME ZONE 'UTC'", "SET DateStyle = 'SQL, DMY'", "SET statement_timeout = 0", "SELECT setseed(0.5)"]


def same(there, wanted):
    assert list(there) == list(wanted), (DRIVER, list(there), list(wanted))


def by_cursor(connection, parameter):
    cursor = connection.cursor()
    for sql in SET_UP:
        cursor.execute(sql)
    connection.commit()
    for end in [connection.commit, connection.rollback] * 6:
        cursor.execute(f"SELECT scope.set_jwt_role({parameter})", (TOKEN,))
        cursor.execute("SELECT current_user::text, count(*)::text FROM orders WHERE id > " + parameter, (0,))
        same(cursor.fetchone(), [ROLE, "2"])
        cursor.execute(SHOWN)
        same(cursor.fetchone(), WANTED)
        for sql in LEAVE:
            cursor.execute(sql)
        end()
        cursor.execute(SHOWN + ", current_user::text, current_setting('DateStyle')")
        same(cursor.fetchone(), WANTED + [LOGIN, "ISO, MDY"])
        connection.rollback()
    connection.close()


def psycopg():
    import psycopg

    by_cursor(psycopg.connect(host=FOLDER, port=PORT, dbname=DATABASE, user=LOGIN), "%s")


def pg8000():
    import pg8000.dbapi

    socket = f"{FOLDER}/.s.PGSQL.{PORT}"
    by_cursor(pg8000.dbapi.connect(user=LOGIN, database=DATABASE, unix_sock=socket), "%s")


def asyncpg():
    import asyncio

    import asyncpg

    async def init(connection):
        await connection.execute("; ".join(SET_UP))

    async def work():
        # Between two users its pool sends its own list of resets.
        pool = await asyncpg.create_pool(
            host=FOLDER, port=int(PORT), database=DATABASE, user=LOGIN, min_size=1, max_size=1, init=init
        )
        for _ in range(12):
            async with pool.acquire() as connection:
                async with connection.transaction():
                    await connection.fetchval("SELECT scope.set_jwt_role($1)", TOKEN)
                    row = await connection.fetchrow("SELECT current_user::text, count(*)::text FROM orders WHERE id > $1", 0)
                    same(row, [ROLE, "2"])
                    same(await connection.fetchrow(SHOWN), WANTED)
                    for sql in LEAVE:
                        await connection.execute(sql)
                same(await connection.fetchrow(SHOWN), WANTED)
        await pool.close()

    asyncio.run(work())


{"psycopg": psycopg, "pg8000": pg8000, "asyncpg": asyncpg}[DRIVER]()
print("fine")
