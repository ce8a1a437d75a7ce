from accord.engine.build import engine_of as engine_of
from accord.engine.engine import Engine as Engine
from accord.engine.engine import EngineSettings as EngineSettings
from accord.errors import (
    AccordError as AccordError,
)
from accord.errors import (
    ConnectorError as ConnectorError,
)
from accord.errors import (
    DeclarationError as DeclarationError,
)
from accord.errors import (
    Fault as Fault,
)
from accord.errors import (
    JournalError as JournalError,
)
from accord.errors import (
    Place as Place,
)
from accord.errors import (
    Problem as Problem,
)
from accord.errors import (
    RecordError as RecordError,
)
from accord.errors import (
    SettingsError as SettingsError,
)
from accord.mapping.functions import Rejected as Rejected
from accord.mapping.functions import function as function
from accord.project import Project as Project
from accord.project import check_project as check_project
from accord.project import load_project as load_project
from accord.record import Done as Done
from accord.record import End as End
from accord.record import Entity as Entity
from accord.record import Field as Field
from accord.record import Message as Message
from accord.record import Partial as Partial
from accord.record import Reconnect as Reconnect
from accord.record import Reject as Reject
from accord.record import Retry as Retry
from accord.settings.secret import Secret as Secret

__version__: str
